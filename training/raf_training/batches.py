"""Batches of augmented heads: one at a time from the disk, or many at once from the memory of the device.

Axis legend: B heads, V vertices of the largest head of a batch, P poses, K eigenpairs, R vertices of all heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from tqdm import tqdm

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_runtime.symmetry import other_side
from raf_training.dataset import Sample, SampleFolder
from raf_training.errors import DataError
from raf_training.network import SurfaceTensors

__all__ = ["MIRRORED_POSES", "Batch", "Feed", "HeadPool", "OneByOne", "feed_of", "mirror", "move"]

# Standard deviations of the jitter: what is left of rotation (degrees), scale and place after the canonical frame.
ROTATION, SCALE, PLACE = 2.5, 0.025, 0.03
# On a share of the heads it is larger: frames of heads unlike any training head are further off.
FAR_SHARE, FAR = 0.25, 2.5
# MIRRORED_POSES[i] is the pose that pose i becomes in a mirror. jawLeft, mouthLeft and the like swap as well.
MIRRORED_POSES = torch.tensor([ARKIT_POSES.index(other_side(name)) for name in ARKIT_POSES])
# What a pool keeps in single precision, as samples are on disk.
WIDE = ("positions", "mass")
# Batches are made of heads of about the same size, from among as many as this number of batches holds.
SORTED = 16


@dataclass(frozen=True)
class Batch:
    """Heads to learn from in one step; all tensors have a leading axis B.

    Attributes
    ----------
    surface : SurfaceTensors
        Padded with vertices that have no area and are nowhere in the spectrum.
    deltas : (B, P, V, 3)
        True displacements.
    mask : (B, P)
        Poses that a head has.
    there : (B, V)
        Vertices that are not padding.
    strange : (B,)
        1 for heads whose displacements are those for strangers, 0 for others.
    sources : tuple of str
        Rigs of the heads.
    """

    surface: SurfaceTensors
    deltas: Tensor
    mask: Tensor
    there: Tensor
    strange: Tensor
    sources: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample) -> Batch:
        """Make a batch of one head."""
        surface = SurfaceTensors(*(getattr(sample.surface, name)[None] for name in INPUTS))
        there = torch.ones_like(surface.mass, dtype=torch.bool)
        strange = torch.full_like(surface.mass[:, 0], float(sample.strange))
        return cls(surface, sample.deltas[None], sample.mask[None], there, strange, (sample.source,))

    def to(self, device: torch.device) -> Batch:
        """Copy to a device."""
        copied = {field.name: getattr(self, field.name).to(device) for field in fields(self)[:-1]}
        return replace(self, **copied)


class OneByOne:
    """One head a batch, read from the disk while the one before is learned from."""

    size = 1

    def __init__(self, heads: SampleFolder, device: torch.device) -> None:
        heads.check()
        self.heads, self.device = heads, device

    def __len__(self) -> int:
        return len(self.heads)

    def batches(self, seed: int, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``last - 1``.

        Step i gives the same batch whatever came before, so a resumed run sees what an unbroken one would.
        """
        with ThreadPoolExecutor(1) as pool:
            ahead: Future[Batch] | None = None
            for step in range(first, last):
                current = ahead or pool.submit(self._batch, seed, step)
                if step + 1 < last:
                    ahead = pool.submit(self._batch, seed, step + 1)
                yield current.result().to(self.device)

    def _batch(self, seed: int, step: int) -> Batch:
        epoch, place = divmod(step, len(self.heads))
        order = np.random.default_rng([seed, 0, epoch]).permutation(len(self.heads))
        batch = Batch.of(self.heads[int(order[place])])
        return _augmented(batch, np.random.default_rng([seed, 1, step]))


class HeadPool:
    """All heads of a folder in the memory of a device, for batches of many.

    Parameters
    ----------
    heads : SampleFolder
    device : torch.device
    size : B

    Raises
    ------
    DataError
        If the folder holds fewer heads than a batch, or one cannot be read.
    """

    def __init__(self, heads: SampleFolder, device: torch.device, size: int) -> None:
        if not 0 < size <= len(heads):
            raise DataError(f"a batch of {size} heads cannot be made of {len(heads)}; choose another --batch")
        self.device, self.size = device, size
        self.counts = heads.check()
        self.starts = np.cumsum(self.counts) - self.counts
        self._rows = {  # (R, ...)
            name: torch.empty(
                (int(self.counts.sum()), *value.shape[1:]),
                dtype=torch.float32 if name in WIDE else torch.float16,
                device=device,
            )
            for name, value in _of_vertices(heads[0]).items()
        }
        with ThreadPoolExecutor() as readers:
            read = readers.map(self._read, [heads] * len(heads), range(len(heads)))
            rest = list(tqdm(read, total=len(heads), desc="heads", unit="head"))
        self._eigenvalues, self._mask, self._strange = (
            torch.stack(values).to(device) for values in list(zip(*rest, strict=True))[:3]
        )
        self._sources = [source for *_, source in rest]

    def __len__(self) -> int:
        return len(self.counts)

    def batches(self, seed: int, first: int, last: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``last - 1``, as :meth:`OneByOne.batches` does."""
        epoch, order = -1, np.empty((0, 0), dtype=np.int64)
        for step in range(first, last):
            now, place = divmod(step, len(self.counts) // self.size)
            if now != epoch:
                epoch, order = now, self._order(np.random.default_rng([seed, 0, now]))
            yield _augmented(self._drawn(order[place]), np.random.default_rng([seed, 1, step]))

    def _read(self, heads: SampleFolder, index: int) -> tuple[Tensor, Tensor, Tensor, str]:
        """Put what a head has for each vertex in its place; returns the rest."""
        sample, start = heads[index], int(self.starts[index])
        for name, value in _of_vertices(sample).items():
            self._rows[name][start : start + len(value)] = value.to(self.device)
        strange = torch.tensor(float(sample.strange))
        return sample.surface.eigenvalues, sample.mask, strange, sample.source

    def _order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Heads (N, B) of the batches of one epoch; who does not fill a batch waits for the next."""
        heads = rng.permutation(len(self.counts))
        heads = heads[: len(heads) // self.size * self.size]
        for start in range(0, len(heads), SORTED * self.size):
            part = heads[start : start + SORTED * self.size]
            part[:] = part[np.argsort(self.counts[part], kind="stable")]
        return rng.permutation(heads.reshape(-1, self.size))

    def _drawn(self, heads: NDArray[np.int64]) -> Batch:
        counts, starts, index = (
            torch.from_numpy(value).to(self.device)
            for value in (self.counts[heads], self.starts[heads], heads)
        )
        places = torch.arange(int(self.counts[heads].max()), device=self.device)
        there = places < counts[:, None]
        # Padding repeats a head's last vertex.
        rows = starts[:, None] + places.minimum(counts[:, None] - 1)
        drawn = {name: value[rows].float() for name, value in self._rows.items()}
        for name in ("mass", "eigenvectors", "gradient_x", "gradient_y"):
            drawn[name] *= there.view(there.shape + (1,) * (drawn[name].ndim - 2))
        drawn["eigenvalues"] = self._eigenvalues[index]
        return Batch(
            SurfaceTensors(*(drawn[name] for name in INPUTS)),
            drawn["deltas"].transpose(1, 2),
            self._mask[index],
            there,
            self._strange[index],
            tuple(self._sources[head] for head in heads),
        )


def _of_vertices(sample: Sample) -> dict[str, Tensor]:
    """Tensors (V, ...) of a head, and its displacements (V, P, 3)."""
    inputs = {name: getattr(sample.surface, name) for name in INPUTS if name != "eigenvalues"}
    return inputs | {"deltas": sample.deltas.transpose(0, 1)}


Feed = OneByOne | HeadPool


def feed_of(heads: SampleFolder, device: torch.device, size: int) -> Feed:
    """Feed a training with batches of ``size`` heads: from the disk if it is one, else from the device's memory."""
    return OneByOne(heads, device) if size == 1 else HeadPool(heads, device, size)


def _augmented(batch: Batch, rng: np.random.Generator) -> Batch:
    which = torch.from_numpy(rng.random(len(batch.sources)) < 0.5).to(batch.mask.device)
    return move(mirror(batch, which), rng)


def mirror(batch: Batch, which: Tensor) -> Batch:
    """Reflect left and right where ``which (B,)``: heads, their displacements, and which pose is which."""
    side = torch.where(which, -1.0, 1.0)
    flip = torch.stack([side, side.abs(), side.abs()], dim=1)[:, None]  # (B, 1, 3)
    swap = MIRRORED_POSES.to(which.device)
    surface = replace(
        batch.surface,
        positions=batch.surface.positions * flip,
        normals=batch.surface.normals * flip,
        # The tangent to the right of the reflected surface is minus the reflection of the tangent to the right.
        gradient_x=batch.surface.gradient_x * side[:, None, None],
    )
    deltas = torch.where(which[:, None, None, None], batch.deltas[:, swap], batch.deltas) * flip[:, None]
    mask = torch.where(which[:, None], batch.mask[:, swap], batch.mask)
    return replace(batch, surface=surface, deltas=deltas, mask=mask)


def move(batch: Batch, rng: np.random.Generator) -> Batch:
    """Turn, scale and shift each head as much as the canonical frame may err."""
    count, device = len(batch.sources), batch.mask.device
    far = np.where(rng.random(count) < FAR_SHARE, FAR, 1.0)
    vectors = np.radians(ROTATION) * far[:, None] * rng.standard_normal((count, 3))
    turn, size, shift = (
        torch.from_numpy(value).float().to(device)
        for value in (
            Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1),
            np.exp(SCALE * far * rng.standard_normal(count))[:, None, None],
            PLACE * (far[:, None] * rng.standard_normal((count, 3)))[:, None],
        )
    )
    s = batch.surface
    surface = SurfaceTensors(
        s.positions @ turn * size + shift,
        s.normals @ turn,
        s.mass * size[:, 0] ** 2,
        s.eigenvalues / size[:, 0] ** 2,
        s.eigenvectors / size,
        s.gradient_x / size**2,
        s.gradient_y / size**2,
    )
    return replace(batch, surface=surface, deltas=batch.deltas @ turn[:, None] * size[..., None])
