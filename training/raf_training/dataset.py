"""Samples for training: read, mirrored, and moved within the error of the canonical frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from scipy.spatial.transform import Rotation
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_runtime.symmetry import other_side
from raf_training.data.build import MANIFEST, STRANGE
from raf_training.errors import DataError
from raf_training.network import SurfaceTensors

__all__ = ["MIRRORED_POSES", "Sample", "SampleFolder", "mirror", "move"]

# Standard deviations of the jitter: what is left of rotation (degrees), scale and place after the canonical frame.
ROTATION, SCALE, PLACE = 2.5, 0.025, 0.03
# On a share of the samples it is larger: frames of heads unlike any training head are further off.
FAR_SHARE, FAR = 0.25, 2.5


# MIRRORED_POSES[i] is the pose that pose i becomes in a mirror. jawLeft, mouthLeft and the like swap as well.
MIRRORED_POSES = torch.tensor([ARKIT_POSES.index(other_side(name)) for name in ARKIT_POSES])


@dataclass(frozen=True)
class Sample:
    """A head to learn from: inputs, true displacements (P, V, 3) and the mask (P,) of the poses it has.

    ``strange``: the displacements are those for strangers to the rig, see :mod:`raf_training.data.consensus`.
    """

    surface: SurfaceTensors
    deltas: Tensor
    mask: Tensor
    source: str
    strange: bool

    def to(self, device: torch.device) -> Sample:
        """Copy to a device."""
        surface = SurfaceTensors(*(getattr(self.surface, name).to(device) for name in INPUTS))
        return replace(self, surface=surface, deltas=self.deltas.to(device), mask=self.mask.to(device))


class SampleFolder:
    """A folder made by ``raf-data build``.

    Parameters
    ----------
    folder : Path
    leave_out : str, optional
        A family whose samples are passed over.

    Attributes
    ----------
    families : tuple of str
        Whose samples are in the folder, in alphabetical order.
    attribution : dict
        Family -> what must be said of its data.

    Raises
    ------
    DataError
        If the folder has no manifest or no samples, a sample cannot be read, or there is no such family.
    """

    def __init__(self, folder: Path, leave_out: str | None = None) -> None:
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise DataError(f"{folder} has no {MANIFEST}; make it with `raf-data build --out {folder}`")
        try:
            plan = json.loads(manifest.read_text())
            families, self.attribution = list[str](plan["families"]), dict[str, str](plan["attribution"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{manifest} is damaged ({error}); delete it and run `raf-data build`") from error
        self.paths = sorted(folder.glob("*.safetensors"))
        if not self.paths:
            raise DataError(f"{folder} holds no samples; make them with `raf-data build --out {folder}`")
        if leave_out is not None:
            if leave_out not in families:
                known = ", ".join(families)
                raise DataError(f"{folder} holds nothing of {leave_out!r} to leave out; there are {known}")
            if leave_out in plan.get("consensus", ()):
                raise DataError(
                    f"warped heads of {folder} have shapes that are means of families, {leave_out} among them; "
                    "build a folder without that family"
                )
            del self.attribution[leave_out]
            self.paths = [path for path in self.paths if _family(path) != leave_out]
        self.families = tuple(sorted(set(families) - {leave_out}))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        path = self.paths[index]
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata()
                source, strange = about["source"], STRANGE in about
                tensors = {name: file.get_tensor(name) for name in (*INPUTS, "deltas", "mask")}
            vertices, eigenpairs = len(tensors["positions"]), len(tensors["eigenvalues"])
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error
        for name, shape in _shapes(vertices, eigenpairs).items():
            found = tensors[name]
            if found.shape != shape or not found.isfinite().all():
                raise DataError(
                    f"{path}: {name} is not {shape} finite numbers but {tuple(found.shape)}; "
                    "delete it and run `raf-data build`"
                )
        deltas = tensors["deltas"].float()
        return Sample(
            SurfaceTensors(*(tensors[name].float() for name in INPUTS)),
            deltas,
            tensors["mask"],
            source,
            strange,
        )

    def check(self) -> None:
        """Check the headers of all samples: a fault at the end of a folder shall not end a training of days.

        Raises
        ------
        DataError
            If one is truncated, lacks a tensor, or has one of another shape.
        """
        for path in self.paths:
            try:
                with safe_open(path, framework="pt") as file:
                    found = {
                        name: tuple(file.get_slice(name).get_shape()) for name in (*INPUTS, "deltas", "mask")
                    }
                    wanted = _shapes(found["positions"][0], found["eigenvalues"][0])
            except (*_UNREADABLE, IndexError) as error:
                raise _unreadable(path, error) from error
            if bad := [name for name, shape in wanted.items() if found[name] != shape]:
                name = bad[0]
                raise DataError(
                    f"{path}: {name} is {found[name]}, not {wanted[name]}; delete it and run `raf-data build`"
                )

    def stream(self, seed: int, first: int, last: int) -> Iterator[Sample]:
        """Yield the augmented samples of steps ``first`` to ``last - 1``, the next one read ahead.

        Step i gives the same sample whatever came before, so a resumed run sees what an unbroken one would.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead: Future[Sample] | None = None
            for step in range(first, last):
                current = ahead or pool.submit(self._augmented, seed, step)
                if step + 1 < last:
                    ahead = pool.submit(self._augmented, seed, step + 1)
                yield current.result()

    def _augmented(self, seed: int, step: int) -> Sample:
        epoch, place = divmod(step, len(self))
        order = np.random.default_rng([seed, 0, epoch]).permutation(len(self))
        rng = np.random.default_rng([seed, 1, step])
        sample = self[int(order[place])]
        if rng.random() < 0.5:
            sample = mirror(sample)
        return move(sample, rng)


def _family(path: Path) -> str:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata()["source"].partition("/")[0]
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


_UNREADABLE = (OSError, SafetensorError, KeyError, TypeError)


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable sample ({error}); delete it and run `raf-data build`")


def _shapes(vertices: int, eigenpairs: int) -> dict[str, tuple[int, ...]]:
    poses, sizes = len(ARKIT_POSES), {"V": vertices, "K": eigenpairs}
    return {
        name: tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)
        for name, axes in {**INPUTS, "deltas": (poses, "V", 3), "mask": (poses,)}.items()
    }


def mirror(sample: Sample) -> Sample:
    """Reflect left and right: the head, its displacements, and which pose is which."""
    flip = torch.tensor([-1.0, 1.0, 1.0])
    s = sample.surface
    # The tangent to the right of the reflected surface is minus the reflection of the tangent to the right.
    surface = SurfaceTensors(
        s.positions * flip,
        s.normals * flip,
        s.mass,
        s.eigenvalues,
        s.eigenvectors,
        -s.gradient_x,
        s.gradient_y,
    )
    swap = MIRRORED_POSES
    return replace(sample, surface=surface, deltas=sample.deltas[swap] * flip, mask=sample.mask[swap])


def move(sample: Sample, rng: np.random.Generator) -> Sample:
    """Turn, scale and shift a head as much as the canonical frame may err."""
    far = FAR if rng.random() < FAR_SHARE else 1.0
    turn = Rotation.from_rotvec(np.radians(far * ROTATION) * rng.standard_normal(3)).as_matrix()
    rotation = torch.from_numpy(turn).float()
    scale = float(np.exp(far * SCALE * rng.standard_normal()))
    place = torch.from_numpy(far * PLACE * rng.standard_normal(3)).float()
    s = sample.surface
    surface = SurfaceTensors(
        s.positions @ rotation.T * scale + place,
        s.normals @ rotation.T,
        s.mass * scale**2,
        s.eigenvalues / scale**2,
        s.eigenvectors / scale,
        s.gradient_x / scale**2,
        s.gradient_y / scale**2,
    )
    return replace(sample, surface=surface, deltas=sample.deltas @ rotation.T * scale)
