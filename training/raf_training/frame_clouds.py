"""Maps to train the canonical frame on: heads sampled once, undressed, cut, warped and turned every time.

Axis legend: I heads, N points, B clouds of a batch, G cells. Points are columns: (B, 3, N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raf_runtime.frame import AXIS_ROTATIONS, COARSE_RADIUS, HEAD_CENTRE
from raf_runtime.frame_networks import CELLS, EXTENT, LAYER
from raf_training.data.wardrobe import Wardrobe
from raf_training.frame_heads import EXTRA_POINTS, HAIR, LABELS, POINTS, TORSO, WORN, Head, dense_cloud

__all__ = ["Batch", "CloudPool", "front_maps"]

# A cloud that the cuts leave with fewer points than this is used uncut.
FEWEST_POINTS: Final = 250


@dataclass(frozen=True, slots=True)
class Batch:
    """Maps as a network sees them, and what it should say.

    Attributes
    ----------
    maps : (B, G, G, 5) float32
    axes : (B, 2, 3) float32
        Directions of canonical Y and Z.
    anchors : (B, 3, 3) float32
    unit : (B,) float32
        The canonical unit, in the unit of the map.
    """

    maps: Tensor
    axes: Tensor
    anchors: Tensor
    unit: Tensor


class CloudPool:
    """Many heads as dense clouds in their canonical frames, and random views of them.

    Parameters
    ----------
    families
        Heads to draw from, and how often the family is drawn; the shares need not add up to 1.
    wardrobe
        What those put on that wear nothing.
    heads
        I.
    seed
        Determines the pool and everything drawn from it.
    reach
        Sample only what is this near to the origin, in units.
    """

    def __init__(
        self,
        families: Sequence[tuple[Sequence[Head], float]],
        wardrobe: Wardrobe,
        heads: int,
        seed: int,
        reach: float = np.inf,
    ) -> None:
        rng = np.random.default_rng(seed)
        shares = np.array([share for _, share in families])
        clouds, labels, anchors = [], [], []
        for _ in tqdm(range(heads), desc="heads", unit="head"):
            family = families[int(rng.choice(len(families), p=shares / shares.sum()))][0]
            cloud, label, anchor = dense_cloud(family[int(rng.integers(len(family)))], wardrobe, rng, reach)
            clouds.append(cloud.T.astype(np.float16))
            labels.append(label)
            anchors.append(anchor)
        self._clouds = torch.from_numpy(np.stack(clouds))
        self._labels = torch.from_numpy(np.stack(labels))
        self._anchors = torch.from_numpy(np.stack(anchors).astype(np.float32)).mT
        self._random = torch.Generator().manual_seed(seed)

    def coarse_batch(self, size: int, points: int) -> Batch:
        """Draw maps of whole heads, centred and scaled by themselves, nearly upright or in any turn."""
        position, normal, weight, anchors = self._draw(size, 2 * points)
        sample = torch.multinomial(weight, points, True, generator=self._random)[:, None].expand(-1, 3, -1)
        position, normal, anchors = self._shape(position.gather(2, sample), normal.gather(2, sample), anchors)
        # What the runtime will show it: a small turn away from an axis rotation, often the right one.
        upright = self._uniform(size) < 0.5
        rotation = self._rotations(torch.deg2rad(45 * self._uniform(size))) @ self._axes(upright)
        position, normal, anchors = rotation @ position, rotation @ normal, rotation @ anchors
        middle = position.mean(2, keepdim=True)
        scale = _squares(position - middle).mean(1).sqrt()[:, None, None] / COARSE_RADIUS
        position, anchors = (position - middle) / scale, (anchors - middle) / scale
        # A little noise comes after scaling: it stands for scans and coarse triangulations.
        position += 0.03 * self._uniform(size, 1, 1) * self._normal(*position.shape)
        maps = front_maps(position, _turned(normal, position), torch.ones(size, points))
        return Batch(maps, rotation.mT[:, 1:].contiguous(), anchors.mT, 1 / scale[:, 0, 0])

    def fine_batch(self, size: int, points: int) -> Batch:
        """Draw maps of faces, as the first network's guesses would place them; some of these are wrong."""
        position, normal, weight, anchors = self._draw(size, int(points * 2 ** -self._uniform(1)))
        position, normal, anchors = self._shape(position, normal, anchors)
        # Errors of the first network, and what is left of them after each refinement.
        error = torch.tensor([1.8, 0.8, 0.4, 0.2, 0.1])[self._integers(5, size)]
        rotation = self._rotations(torch.deg2rad((9 * error * self._normal(size)).abs().clamp(max=45)))
        shift = (0.2 * error[:, None] * self._normal(size, 3)).clamp(-1, 1)
        scale = (0.12 * error * self._normal(size)).clamp(-0.5, 0.5).exp()
        # What it sees of wrong guesses: a face believed on another side of the head.
        wrong = (self._uniform(size) < 0.18)[:, None]
        far = self._rotations(torch.deg2rad(45 * self._uniform(size))) @ self._axes(self._uniform(size) < 0.2)
        rotation = torch.where(wrong[..., None], far, rotation)
        centre = torch.tensor(HEAD_CENTRE)
        astray = centre - centre @ rotation + 0.6 * self._normal(size, 3)
        shift = torch.where(wrong, astray, shift)
        smaller = rotation / scale[:, None, None]
        position, anchors = (smaller @ (x - shift[..., None]) for x in (position, anchors))
        position += 0.015 * self._uniform(size, 1, 1) * self._normal(*position.shape)
        normal = _turned(rotation @ normal, position - centre[:, None])
        maps = front_maps(position, normal, weight)
        return Batch(maps, rotation.mT[:, 1:].contiguous(), anchors.mT, 1 / scale)

    def _draw(self, size: int, points: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw canonical points and normals (B, 3, N), their chances (B, N) after cuts, anchors (B, 3, 3)."""
        index = torch.randint(len(self._clouds), (size,), generator=self._random)
        # The points of a head are in no order: some in a row are a sample.
        start = int(self._integers(POINTS - points + 1, 1))
        few = EXTRA_POINTS * points // POINTS
        chosen = torch.cat(
            [
                torch.arange(first, first + count)
                for first, count in ((start, points), (POINTS, few), (POINTS + EXTRA_POINTS, few))
            ]
        )
        position, normal = self._clouds[index][..., chosen].float().split(3, 1)
        weight = self._part_weights(self._labels[index][:, chosen])
        cut = weight * self._cuts(position)
        enough = (cut > 0).sum(1, keepdim=True) >= FEWEST_POINTS
        return position, normal, torch.where(enough, cut, weight), self._anchors[index]

    def _shape(self, position: Tensor, normal: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Warp and mirror points, normals (B, 3, N) and anchors (B, 3, 3), and make them canonical again."""
        position, normal, anchors = self._warped(position, normal, anchors)
        flip = (self._uniform(len(position)) < 0.5)[:, None, None]
        mirror = torch.where(flip, torch.tensor([-1.0, 1.0, 1.0])[:, None], 1.0)
        anchors = torch.where(flip, anchors[..., [1, 0, 2]], anchors) * mirror
        origin = anchors.mean(2, keepdim=True)
        unit = _squares(anchors - origin).mean(1).sqrt()[:, None, None]
        return (position * mirror - origin) / unit, normal * mirror, (anchors - origin) / unit

    def _part_weights(self, labels: Tensor) -> Tensor:
        """Chance (B, N) of each point: loose parts dropped at random; outfits, hair and shoulders on some."""
        size = len(labels)
        dropped = self._uniform(size, LABELS) < torch.tensor([0.0, 0.5, 1.0])[self._integers(3, size), None]
        weight = 1 - dropped.float()
        weight[:, 0] = 1.0
        dress = self._uniform(size)
        weight[:, WORN] = (dress < 0.55).float()
        weight[:, HAIR] = (dress > 0.85) * 1.5
        weight[:, TORSO] = (self._uniform(size) < 0.25) * (0.5 + 4 * self._uniform(size))
        return weight.gather(1, labels.long())

    def _cuts(self, position: Tensor) -> Tensor:
        """Mask (B, N) of what a back cut, a neck cut, a cut anywhere and a ball around the face leave."""
        size = len(position)
        keep = torch.ones((size, position.shape[2]), dtype=torch.bool)
        # A third are masks, which lack both the back of the head and the neck.
        mask = self._uniform(size) < 0.35
        for direction, chance, nearest, farthest in (
            ((0.0, 0.0, -1.0), 0.4, 0.1, 2.5),
            ((0.0, -1.0, 0.0), 0.6, 1.6, 3.5),
            (None, 0.3, 1.5, 4.0),
        ):
            if direction is None:
                normal = self._normal(size, 3)
            else:
                normal = torch.tensor(direction) + 0.2 * self._normal(size, 3)
            normal = normal / normal.norm(dim=1, keepdim=True)
            distance = nearest + (farthest - nearest) * self._uniform(size)
            cut = self._uniform(size) < chance
            if direction is not None:
                cut |= mask
            distance = torch.where(cut, distance, torch.inf)
            keep &= (normal[:, None] @ position)[:, 0] < distance[:, None]
        ball = torch.where(self._uniform(size) < 0.3, 1.5 + 3 * self._uniform(size), torch.inf)
        return (keep & (_squares(position) < ball.square()[:, None])).float()

    def _warped(self, position: Tensor, normal: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stretch along the axes and bend by three long waves; normals follow to first order."""
        size, waves = len(position), 3
        stretch = (0.10 * self._normal(size, 3, 1)).clamp(-0.25, 0.25).exp()
        wave = 0.6 * self._normal(size, waves, 3)
        phase = 6.2832 * self._uniform(size, waves, 1)
        push = 0.08 * self._uniform(size, 1, 1) * self._normal(size, 3, waves)

        def moved(x: Tensor) -> Tensor:
            return (x + push @ torch.sin(wave @ x + phase)) * stretch

        normal = normal / stretch
        normal = normal - wave.mT @ (torch.cos(wave @ position + phase) * (push.mT @ normal))
        normal = normal / _squares(normal).sqrt().clamp(min=1e-6)[:, None]
        return moved(position), normal, moved(anchors)

    def _axes(self, upright: Tensor) -> Tensor:
        """Axis rotations (B, 3, 3), the identity where ``upright`` (B,)."""
        turn = torch.where(upright, 0, self._integers(len(AXIS_ROTATIONS), len(upright)))
        return torch.from_numpy(AXIS_ROTATIONS).float()[turn]

    def _rotations(self, angle: Tensor) -> Tensor:
        """Rotations (B, 3, 3) by ``angle`` (B,) about random axes (Rodrigues)."""
        axis = self._normal(len(angle), 3)
        x, y, z = (axis / axis.norm(dim=1, keepdim=True)).unbind(1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
        sine, cosine = angle.sin()[:, None, None], angle.cos()[:, None, None]
        return torch.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._random)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random)

    def _integers(self, below: int, size: int) -> Tensor:
        return torch.randint(below, (size,), generator=self._random)


def front_maps(position: Tensor, normal: Tensor, weight: Tensor) -> Tensor:
    """Draw maps (B, G, G, 5) of points, normals (B, 3, N) with a weight (B, N): the runtime's ``front_map``."""
    size = len(position)
    x, y, depth = position.unbind(1)
    column, row = (((v + EXTENT) * (CELLS / (2 * EXTENT))).floor().long() for v in (x, y))
    seen = (column >= 0) & (column < CELLS) & (row >= 0) & (row < CELLS)
    seen &= (depth.abs() < EXTENT) & (weight > 0)
    # What is not seen goes to a cell beyond the last.
    place = torch.where(seen, row * CELLS + column, CELLS * CELLS)
    front = torch.full((size, CELLS * CELLS + 1), -torch.inf).scatter_reduce(1, place, depth, "amax")
    place = torch.where(depth > front.gather(1, place) - LAYER, place, CELLS * CELLS)
    values = torch.cat([torch.ones_like(depth)[:, None], depth[:, None], normal], 1)
    total = torch.zeros(size, 5, CELLS * CELLS + 1).scatter_add(2, place[:, None].expand(-1, 5, -1), values)
    mean = total[..., :-1] / total[:, :1, :-1].clamp(min=1)
    return mean.mT.reshape(size, CELLS, CELLS, 5)


def _turned(normal: Tensor, outwards: Tensor) -> Tensor:
    return torch.where((normal * outwards).sum(1, keepdim=True) < 0, -normal, normal)


def _squares(vectors: Tensor) -> Tensor:
    """Squared lengths (B, N) of vectors (B, 3, N)."""
    return vectors.square().sum(1)
