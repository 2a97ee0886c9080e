"""Samples for training, read from the folders that `raf-data build` makes."""

from __future__ import annotations

import json
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_training.data.build import MANIFEST, STRANGE
from raf_training.errors import DataError
from raf_training.network import SurfaceTensors

__all__ = ["Sample", "SampleFolder"]


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
        return replace(
            self,
            surface=self.surface.to(device),
            deltas=self.deltas.to(device),
            mask=self.mask.to(device),
        )


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
            self.paths = [path for path in self.paths if _kind(path)[0] != leave_out]
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

    def of(self, family: str) -> SampleFolder:
        """Only the heads of a family that are no strangers to it."""
        part = copy(self)
        part.paths = [path for path in self.paths if _kind(path) == (family, False)]
        return part

    def check(self) -> NDArray[np.int64]:
        """Check the headers of all samples: a fault at the end of a folder shall not end a training of days.

        Returns
        -------
        (N,) int64
            How many vertices each has.

        Raises
        ------
        DataError
            If one is truncated, lacks a tensor, or has one of another shape.
        """
        counts = np.empty(len(self.paths), dtype=np.int64)
        for index, path in enumerate(self.paths):
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
            counts[index] = found["positions"][0]
        return counts


def _kind(path: Path) -> tuple[str, bool]:
    """Family of a sample, and whether it is a stranger to it."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            return about["source"].partition("/")[0], STRANGE in about
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
