"""2D targets of heads without a rig: what an image animator says of every pose, in files that any of them can write.

The format is written down in ``docs/targets_2d.md``. Everything is checked when it is read.

Axis legend: H rows and W columns of an image (row 0 at the top), V vertices, T triangles, K eigenpairs, P poses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.errors import DataError

__all__ = ["FORMAT", "VIEW", "Target", "TargetFolder", "write_head", "write_manifest", "write_target"]

FORMAT: Final = 1
# The view that training looks from; others are for whoever wants them.
VIEW: Final = "front"
MANIFEST: Final = "targets.json"
# No image is larger than this: files come from anywhere.
LARGEST: Final = 4096
_IMAGES: Final = ("image", "mask", "confidence")


@dataclass(frozen=True)
class Target:
    """One head in one pose, from one view.

    Attributes
    ----------
    image : (H, W) float32
        The posed head, shaded as :mod:`raf_training.rendering` shades it, 0 to 1.
    mask : (H, W) float32
        1 where the posed head is, 0 elsewhere.
    displacement : (H, W, 2) float32
        At every pixel of the **neutral** head, how far what is seen there moves: right and down, in shares of
        the image's width and height.
    confidence : (H, W) float32
        How far the three are to be believed, 0 to 1.
    """

    image: Tensor
    mask: Tensor
    displacement: Tensor
    confidence: Tensor


class TargetFolder:
    """A folder of 2D targets.

    Attributes
    ----------
    resolution : int
        H = W of every image.
    names : list of str
        The heads.
    attribution : dict
        What must be said of the heads' data, by source.

    Raises
    ------
    DataError
        If the manifest is missing or damaged, or names a pose that is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise DataError(f"{folder} has no {MANIFEST}; make it with `raf-train teacher`")
        try:
            content = json.loads(manifest.read_text())
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']!r} is not {FORMAT}")
            self.resolution = int(content["resolution"])
            self.attribution = {str(key): str(value) for key, value in content["attribution"].items()}
            heads: dict[str, list[str]] = {
                str(name): [str(pose) for pose in poses] for name, poses in content["heads"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{manifest} is damaged ({error}); see docs/targets_2d.md") from error
        if not 1 <= self.resolution <= LARGEST:
            raise DataError(f"{manifest}: resolution {self.resolution} is not between 1 and {LARGEST}")
        for name, poses in heads.items():
            if not name or Path(name).name != name:
                raise DataError(f"{manifest}: {name!r} cannot be the name of a head, which is that of a file")
            if unknown := [pose for pose in poses if pose not in ARKIT_POSES]:
                raise DataError(
                    f"{manifest}: head {name} has an unknown pose {unknown[0]!r}; use ARKit's names"
                )
        self.names = list(heads)
        self._rows = [tuple(sorted({ARKIT_POSES.index(pose) for pose in poses})) for poses in heads.values()]
        if not any(self._rows):
            raise DataError(f"{manifest} lists no head with a pose; see docs/targets_2d.md")

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, head: int) -> tuple[int, ...]:
        """Rows of the poses that a head has targets for."""
        return self._rows[head]

    def path(self, head: int) -> Path:
        """The file of a head's surface."""
        return self.folder / f"{self.names[head]}.safetensors"

    def read(self, head: int, row: int) -> Target:
        """Read one target.

        Raises
        ------
        DataError
            If a file is missing, truncated, of another size, or not finite.
        """
        stem = _stem(self.folder, self.names[head], VIEW, ARKIT_POSES[row])
        image, mask, confidence = (self._image(stem.with_name(f"{stem.name}.{kind}.png")) for kind in _IMAGES)
        return Target(image, mask, self._displacement(stem.with_name(f"{stem.name}.safetensors")), confidence)

    def _image(self, path: Path) -> Tensor:
        try:
            with Image.open(path, formats=["PNG"]) as image:
                # The size is in the header: nothing is decoded that is too large.
                size, mode = image.size, image.mode
                if size == (self.resolution, self.resolution) and mode == "L":
                    return torch.from_numpy(np.asarray(image, np.float32) / np.float32(255))
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} is not a readable PNG ({error}); write that target again") from error
        raise DataError(
            f"{path} is {size[0]} x {size[1]} {mode}, not {self.resolution} x {self.resolution} grey (8 bit L)"
        )

    def _displacement(self, path: Path) -> Tensor:
        try:
            with safe_open(path, framework="pt") as file:
                found = file.get_slice("displacement")
                shape, expected = tuple(found.get_shape()), (self.resolution, self.resolution, 2)
                if shape != expected:
                    raise DataError(
                        f"{path}: displacement is {shape}, not {expected}; write that target again"
                    )
                displacement = file.get_tensor("displacement").float()
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{path} is not a readable displacement ({error}); write that target again"
            ) from error
        if not displacement.isfinite().all():
            raise DataError(f"{path}: displacement has values that are not finite; write that target again")
        return displacement


def write_manifest(
    folder: Path, resolution: int, heads: Mapping[str, Sequence[str]], attribution: Mapping[str, str]
) -> None:
    """Write, last of all, what the folder holds: head -> names of its poses."""
    content = {
        "format": FORMAT,
        "resolution": resolution,
        "attribution": dict(attribution),
        "heads": {name: list(poses) for name, poses in heads.items()},
    }
    temporary = folder / f"{MANIFEST}.tmp"
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(folder / MANIFEST)


def write_head(folder: Path, name: str, arrays: dict[str, NDArray[Any]], source: str) -> None:
    """Write the surface of a head: the network's inputs (see :mod:`raf_runtime.contract`) and ``faces (T, 3)``."""
    path = folder / f"{name}.safetensors"
    temporary = path.with_suffix(".tmp")
    contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    save_file(contiguous, temporary, metadata={"source": source})
    temporary.replace(path)


def write_target(folder: Path, name: str, pose: str, target: Target, view: str = VIEW) -> None:
    """Write the files of one target."""
    stem = _stem(folder, name, view, pose)
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind in _IMAGES:
        pixels = (255 * getattr(target, kind).clamp(0, 1)).round().byte().cpu().numpy()
        path = stem.with_name(f"{stem.name}.{kind}.png")
        temporary = path.with_suffix(".tmp")
        Image.fromarray(pixels).save(temporary, format="PNG")
        temporary.replace(path)
    displacement = target.displacement.cpu().numpy().astype(np.float16)
    path = stem.with_name(f"{stem.name}.safetensors")
    temporary = path.with_suffix(".tmp")
    save_file({"displacement": np.ascontiguousarray(displacement)}, temporary)
    temporary.replace(path)


def _stem(folder: Path, name: str, view: str, pose: str) -> Path:
    return folder / name / view / pose
