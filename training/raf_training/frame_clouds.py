"""Point clouds to train the canonical frame on: identities sampled once, cut, warped and turned every time.

Axis legend: I identities, N points, B clouds of a batch, C = 6 coordinates (position, normal).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raf_runtime.frame import AXIS_ROTATIONS, HEAD_CENTRE
from raf_runtime.frame_networks import CELLS, EXTENT, LAYER
from raf_training.data.rig_source import RigSource
from raf_training.frame_heads import EXTRA_POINTS, HAIR, PART_LABELS, SKIN_POINTS, TORSO, dense_cloud

__all__ = ["Batch", "CloudPool", "front_maps"]

# A cloud that the cuts leave with fewer points than this is used uncut.
FEWEST_POINTS: Final = 250


@dataclass(frozen=True, slots=True)
class Batch:
    """Clouds as a network sees them, and what it should say.

    Attributes
    ----------
    views : (B, N, 6) or (B, G, G, 5) float32
        Clouds or maps.
    axes : (B, 2, 3) float32
        Directions of canonical Y and Z.
    anchors : (B, 3, 3) float32
    unit : (B,) float32
        The canonical unit, in the unit of the view.
    """

    views: Tensor
    axes: Tensor
    anchors: Tensor
    unit: Tensor


class CloudPool:
    """Many identities as dense clouds in their canonical frames, and random views of them.

    Parameters
    ----------
    sources
        Rigs; every family gets the same number of identities.
    identities
        I, about; it is rounded to a multiple of the families.
    seed
        Determines the pool and everything drawn from it.
    reach
        Sample only what is this near to the origin, in units.
    """

    def __init__(
        self, sources: Sequence[RigSource], identities: int, seed: int, reach: float = np.inf
    ) -> None:
        rng = np.random.default_rng(seed)
        families = sorted({source.family for source in sources})
        clouds, labels, anchors = [], [], []
        for i in tqdm(range(identities), desc="identities", unit="head"):
            family = [source for source in sources if source.family == families[i % len(families)]]
            cloud, label, anchor = dense_cloud(family[rng.integers(len(family))], rng, reach)
            clouds.append(cloud.astype(np.float16))
            labels.append(label)
            anchors.append(anchor)
        self._clouds = torch.from_numpy(np.stack(clouds))
        self._labels = torch.from_numpy(np.stack(labels))
        self._anchors = torch.from_numpy(np.stack(anchors).astype(np.float32))
        self._random = torch.Generator().manual_seed(seed)

    def coarse_batch(self, size: int, points: int) -> Batch:
        """Draw whole clouds, centred and scaled by themselves, nearly upright or in any turn."""
        cloud, weight, anchors = self._draw(size, 2 * points)
        cloud = torch.take_along_dim(
            cloud, torch.multinomial(weight, points, True, generator=self._random)[..., None], 1
        )
        cloud, anchors = self._shape(cloud, anchors)
        # What the runtime will show it: a small turn away from an axis rotation, often the right one.
        turn = torch.where(self._uniform(size) < 0.5, 0, self._integers(len(AXIS_ROTATIONS), size))
        axes = torch.from_numpy(AXIS_ROTATIONS).float()[turn]
        rotation = self._rotations(torch.deg2rad(45 * self._uniform(size))) @ axes
        position, normal = cloud[..., :3] @ rotation.mT, cloud[..., 3:] @ rotation.mT
        middle = position.mean(1, keepdim=True)
        position = position - middle
        radius = position.square().sum(2).mean(1).sqrt()[:, None, None]
        position = position / radius
        # A little noise comes after scaling: it stands for scans and coarse triangulations.
        position = position + 0.02 * self._uniform(size, 1, 1) * self._normal(*position.shape)
        anchors = (anchors @ rotation.mT - middle) / radius
        clouds = torch.cat([position, _turned(normal, position)], 2)
        return Batch(clouds, rotation.mT[:, 1:].contiguous(), anchors, 1 / radius[:, 0, 0])

    def fine_batch(self, size: int, points: int) -> Batch:
        """Draw maps of faces, as estimates of the frame with errors large and small would place them."""
        cloud, weight, anchors = self._draw(size, int(points * 2 ** -(1.5 * self._uniform(1))))
        cloud, anchors = self._shape(cloud, anchors)
        # Errors of the first network, and what is left of them after one refinement and after two.
        error = torch.tensor([1.0, 0.4, 0.15])[self._integers(3, size)]
        rotation = self._rotations(torch.deg2rad((9 * error * self._normal(size)).abs().clamp(max=40)))
        shift = (0.2 * error[:, None] * self._normal(size, 3)).clamp(-0.8, 0.8)
        scale = (0.12 * error * self._normal(size)).clamp(-0.4, 0.4).exp()
        position, anchors = (
            (points - shift[:, None]) @ rotation.mT / scale[:, None, None]
            for points in (cloud[..., :3], anchors)
        )
        normal = cloud[..., 3:] @ rotation.mT
        position = position + 0.015 * self._uniform(size, 1, 1) * self._normal(*position.shape)
        normal = _turned(normal, position - torch.tensor(HEAD_CENTRE))
        return Batch(
            front_maps(position, normal, weight), rotation.mT[:, 1:].contiguous(), anchors, 1 / scale
        )

    def _draw(self, size: int, points: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw canonical clouds (B, N, 6), chances (B, N) of their points after cuts, anchors (B, 3, 3)."""
        index = torch.randint(len(self._clouds), (size,), generator=self._random)
        # The points of a head are in no order: some in a row are a sample.
        extra = torch.arange(SKIN_POINTS, SKIN_POINTS + 2 * EXTRA_POINTS)
        start = int(self._integers(SKIN_POINTS - points + 1, 1))
        chosen = torch.cat([torch.arange(start, start + points), extra])
        cloud, labels = self._clouds[index][:, chosen].float(), self._labels[index][:, chosen]
        weight = self._part_weights(labels)
        cut = weight * self._cuts(cloud[..., :3])
        enough = (cut > 0).sum(1, keepdim=True) >= FEWEST_POINTS
        return cloud, torch.where(enough, cut, weight), self._anchors[index]

    def _shape(self, cloud: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Warp and mirror clouds (B, N, 6) and anchors (B, 3, 3), and make them canonical again."""
        cloud, anchors = self._warped(cloud, anchors)
        flip = (self._uniform(len(cloud)) < 0.5)[:, None, None]
        mirror = torch.where(flip, torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))
        cloud = cloud * mirror.repeat(1, 1, 2)
        anchors = torch.where(flip, anchors[:, [1, 0, 2]], anchors) * mirror
        origin = anchors.mean(1, keepdim=True)
        unit = (anchors - origin).square().sum(2).mean(1).sqrt()[:, None, None]
        return torch.cat([(cloud[..., :3] - origin) / unit, cloud[..., 3:]], 2), (anchors - origin) / unit

    def _part_weights(self, labels: Tensor) -> Tensor:
        """Chance (B, N) of each point: loose parts dropped at random, hair and shoulders on some."""
        size = len(labels)
        dropped = (
            self._uniform(size, PART_LABELS + 2)
            < torch.tensor([0.0, 0.5, 1.0])[self._integers(3, size), None]
        )
        weight = 1 - dropped.float()
        weight[:, 0] = 1.0
        weight[:, HAIR] = (self._uniform(size) < 0.3) * 1.5
        weight[:, TORSO] = (self._uniform(size) < 0.25) * (0.5 + 4 * self._uniform(size))
        return weight.gather(1, labels.long())

    def _cuts(self, position: Tensor) -> Tensor:
        """Mask (B, N) of what a back cut, a neck cut, a cut anywhere and a ball around the face leave."""
        size = len(position)
        keep = torch.ones(position.shape[:2], dtype=torch.bool)
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
            keep &= _dot(position, normal[:, None]) < distance[:, None]
        ball = torch.where(self._uniform(size) < 0.3, 1.5 + 3 * self._uniform(size), torch.inf)
        return (keep & (_dot(position, position) < ball.square()[:, None])).float()

    def _warped(self, cloud: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Stretch along the axes and bend by three long waves; normals follow to first order."""
        size = len(cloud)
        stretch = (0.10 * self._normal(size, 1, 3)).clamp(-0.25, 0.25).exp()
        waves = 3
        wave = 0.6 * self._normal(size, waves, 3)
        phase = 6.2832 * self._uniform(size, 1, waves)
        push = 0.08 * self._uniform(size, 1, 1) * self._normal(size, waves, 3)
        position, normal = cloud[..., :3], cloud[..., 3:] / stretch
        slope = torch.cos(position @ wave.mT + phase)
        normal = normal - (slope * (normal @ push.mT)) @ wave
        normal = normal / _dot(normal, normal).sqrt().clamp(min=1e-6)[..., None]

        def moved(x: Tensor) -> Tensor:
            return (x + torch.sin(x @ wave.mT + phase) @ push) * stretch

        return torch.cat([moved(position), normal], 2), moved(anchors)

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
    """Draw maps (B, G, G, 5) of points with a weight: the twin of ``raf_runtime``'s ``front_map``."""
    size = len(position)
    cell = ((position[..., :2] + EXTENT) * (CELLS / (2 * EXTENT))).floor().long()
    seen = ((cell >= 0) & (cell < CELLS)).all(2) & (position[..., 2].abs() < EXTENT) & (weight > 0)
    # What is not seen goes to a cell beyond the last.
    place = torch.where(seen, cell[..., 1] * CELLS + cell[..., 0], CELLS * CELLS)
    depth = position[..., 2]
    front = torch.full((size, CELLS * CELLS + 1), -torch.inf).scatter_reduce(1, place, depth, "amax")
    place = torch.where(depth > front.gather(1, place) - LAYER, place, CELLS * CELLS)
    values = torch.cat([torch.ones_like(depth)[..., None], depth[..., None], normal], 2)
    total = torch.zeros(size, CELLS * CELLS + 1, 5).scatter_add(1, place[..., None].expand(-1, -1, 5), values)
    total = total[:, :-1]
    return (total / total[..., :1].clamp(min=1)).reshape(size, CELLS, CELLS, 5)


def _turned(normal: Tensor, outwards: Tensor) -> Tensor:
    return torch.where(_dot(normal, outwards)[..., None] < 0, -normal, normal)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products (B, N) of vectors (B, N, 3); several times as fast as a sum along so short an axis."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
