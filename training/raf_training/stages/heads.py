"""What the stages learn from: rigged heads and heads with 2D targets, read and checked before the first step.

Axis legend: V vertices, T triangles, K eigenpairs, P poses, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from raf_runtime.contract import INPUTS
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.network import SurfaceTensors
from raf_training.posing import rows_to_pose
from raf_training.stages.targets import Target, TargetFolder

__all__ = ["StageData", "StageHead"]


@dataclass(frozen=True)
class StageHead:
    """A head to render.

    Attributes
    ----------
    surface : SurfaceTensors
    faces : (T, 3) int64
    deltas : (P, V, 3) float32, of a rig only
    poses : tuple of int
        Rows of the poses that it can be asked for.
    source : str
    """

    surface: SurfaceTensors
    faces: Tensor
    deltas: Tensor | None
    poses: tuple[int, ...]
    source: str

    def to(self, device: torch.device) -> StageHead:
        """Copy to a device."""
        deltas = None if self.deltas is None else self.deltas.to(device)
        return StageHead(self.surface.to(device), self.faces.to(device), deltas, self.poses, self.source)


class StageData:
    """Rigged heads, then unrigged ones, under common numbers.

    Parameters
    ----------
    rigged : SampleFolder
    unrigged : TargetFolder, optional

    Attributes
    ----------
    poses : list of tuples of int
        Of every head, the rows of the poses that it can be asked for.
    attribution : list of str
        What must be said of the data.

    Raises
    ------
    DataError
        If anything in the folders cannot be used. All files are read once to know it.
    """

    def __init__(self, rigged: SampleFolder, unrigged: TargetFolder | None = None) -> None:
        self._rigged, self._unrigged = rigged, unrigged
        lines = [*rigged.attribution.values(), *(unrigged.attribution.values() if unrigged else ())]
        self.attribution = list(dict.fromkeys(lines))
        count = len(rigged) + (len(unrigged) if unrigged else 0)
        self.poses = [self.head(number).poses for number in range(count)]
        for number in range(len(rigged), count):
            for row in self.poses[number]:
                self.target(number, row)

    def __len__(self) -> int:
        return len(self.poses)

    def head(self, number: int) -> StageHead:
        """Read a head."""
        if number < len(self._rigged):
            sample = self._rigged[number]
            faces = _faces(self._rigged.paths[number], len(sample.surface.mass))
            return StageHead(sample.surface, faces, sample.deltas, rows_to_pose(sample.mask), sample.source)
        assert self._unrigged is not None
        path, poses = (
            self._unrigged.path(number - len(self._rigged)),
            self._unrigged.rows(number - len(self._rigged)),
        )
        surface = _surface(path)
        return StageHead(surface, _faces(path, len(surface.mass)), None, poses, f"unrigged/{path.stem}")

    def target(self, number: int, row: int) -> Target:
        """Read a 2D target of an unrigged head."""
        assert self._unrigged is not None
        return self._unrigged.read(number - len(self._rigged), row)


def _surface(path: Path) -> SurfaceTensors:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in INPUTS}
        vertices, eigenpairs = len(tensors["positions"]), len(tensors["eigenvalues"])
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{path} is not a readable head ({error}); write it again") from error
    for name, axes in INPUTS.items():
        shape = tuple(vertices if axis == "V" else eigenpairs if axis == "K" else axis for axis in axes)
        if tensors[name].shape != shape or not tensors[name].isfinite().all():
            raise DataError(f"{path}: {name} is not {shape} finite numbers but {tuple(tensors[name].shape)}")
    return SurfaceTensors(**tensors)


def _faces(path: Path, vertices: int) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            faces = file.get_tensor("faces").long()
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} has no triangles to render ({error}); it was made by an older `raf-data build`: make it again"
        ) from error
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise DataError(f"{path}: faces are {tuple(faces.shape)}, not (T, 3) triangles; make it again")
    if faces.min() < 0 or faces.max() >= vertices:
        raise DataError(
            f"{path}: faces reference vertices {int(faces.min())} to {int(faces.max())}; there are {vertices}"
        )
    return faces
