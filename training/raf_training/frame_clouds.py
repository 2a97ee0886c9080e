"""Point clouds to train the canonical frame on: identities sampled once, cut, warped and turned every time.

Axis legend: I identities, N points, B clouds of a batch, C = 6 coordinates (position, normal).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from raf_runtime.frame import AXIS_ROTATIONS, HEAD_CENTRE, WINDOW, Frame
from raf_runtime.surface import face_area_vectors
from raf_training.data.rig_source import RigSource

__all__ = ["Batch", "CloudPool", "triangles"]

SKIN_POINTS: Final = 4096
# Hair and shoulders that the rigs lack: some training heads wear inflated scalps, or stand on ellipsoids.
EXTRA_POINTS: Final = 768
# Loose parts (eyeballs, teeth, lashes, ...) are dropped by label; labels beyond this number share one.
PART_LABELS: Final = 14
_HAIR, _TORSO = PART_LABELS, PART_LABELS + 1
# A cloud that the cuts leave with fewer points than this is used uncut.
FEWEST_POINTS: Final = 250


def triangles(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Split quads (F, 4), whose last column is -1 for a triangle, into triangles (T, 3)."""
    quads = faces[faces[:, 3] >= 0]
    return np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Clouds as a network sees them, and what it should say.

    Attributes
    ----------
    clouds : (B, N, 6) float32
    axes : (B, 2, 3) float32
        Directions of canonical Y and Z.
    anchors : (B, 3, 3) float32
    unit : (B,) float32
        The canonical unit, in the unit of the cloud.
    """

    clouds: Tensor
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
    """

    def __init__(self, sources: Sequence[RigSource], identities: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        families = sorted({source.family for source in sources})
        clouds, labels, anchors = [], [], []
        for i in tqdm(range(identities), desc="identities", unit="head"):
            family = [source for source in sources if source.family == families[i % len(families)]]
            cloud, label, anchor = _dense_cloud(family[rng.integers(len(family))], rng)
            clouds.append(cloud.astype(np.float16))
            labels.append(label)
            anchors.append(anchor)
        self._clouds = torch.from_numpy(np.stack(clouds))
        self._labels = torch.from_numpy(np.stack(labels))
        self._anchors = torch.from_numpy(np.stack(anchors).astype(np.float32))
        self._random = torch.Generator().manual_seed(seed)

    def coarse_batch(self, size: int, points: int) -> Batch:
        """Draw whole clouds, centred and scaled by themselves, nearly upright or in any turn."""
        cloud, anchors = self._views(size, points, None, None)
        # What the runtime will show it: a small turn away from one of the 24 axis rotations, half of them the right one.
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
        """Draw surroundings of faces, as cut out by estimates of the frame with errors large and small."""
        # Mostly errors of the first network, the others what is left of them after a refinement.
        error = torch.where(self._uniform(size) < 0.5, 1.0, 0.3)
        rotation = self._rotations(torch.deg2rad((8 * error * self._normal(size)).abs().clamp(max=35)))
        shift = (0.15 * error[:, None] * self._normal(size, 3)).clamp(-0.8, 0.8)
        scale = (0.10 * error * self._normal(size)).clamp(-0.4, 0.4).exp()
        # The warp shifts the face a little after the window is cut, which is one more such error.
        cloud, anchors = self._views(size, points, shift, WINDOW * scale)
        position, anchors = (
            (points - shift[:, None]) @ rotation.mT / scale[:, None, None]
            for points in (cloud[..., :3], anchors)
        )
        normal = cloud[..., 3:] @ rotation.mT
        position = position + 0.01 * self._uniform(size, 1, 1) * self._normal(*position.shape)
        clouds = torch.cat([position, _turned(normal, position - torch.tensor(HEAD_CENTRE))], 2)
        return Batch(clouds, rotation.mT[:, 1:].contiguous(), anchors, 1 / scale)

    def _views(
        self, size: int, points: int, centre: Tensor | None, radius: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Draw cut, warped, mirrored clouds (B, N, 6) and their anchors (B, 3, 3), upright and in units."""
        index = torch.randint(len(self._clouds), (size,), generator=self._random)
        # Every other point is plenty to choose from.
        half = slice(int(self._integers(2, 1)), None, 2)
        cloud, anchors = self._clouds[index, half].float(), self._anchors[index]
        weight = self._part_weights(self._labels[index, half])
        window = torch.ones_like(weight)
        if centre is not None and radius is not None:
            window = ((cloud[..., :3] - centre[:, None]).square().sum(2) < radius[:, None].square()).float()
        cut = weight * window * self._cuts(cloud[..., :3])
        enough = (cut > 0).sum(1, keepdim=True) >= FEWEST_POINTS
        chosen = torch.multinomial(
            torch.where(enough, cut, weight * window), points, True, generator=self._random
        )
        cloud = torch.take_along_dim(cloud, chosen[..., None], 1)
        cloud, anchors = self._warped(cloud, anchors)
        flip = self._uniform(size) < 0.5
        mirror = torch.where(flip[:, None], torch.tensor([-1.0, 1.0, 1.0]), torch.ones(3))[:, None]
        exchanged = torch.where(flip[:, None, None], anchors[:, [1, 0, 2]], anchors)
        cloud = cloud * mirror.repeat(1, 1, 2)
        # Canonical once more: the warp has moved the anchors.
        anchors = exchanged * mirror
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
        weight[:, _HAIR] = (self._uniform(size) < 0.3) * 1.5
        weight[:, _TORSO] = (self._uniform(size) < 0.25) * (0.5 + 4 * self._uniform(size))
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
            keep &= (position * normal[:, None]).sum(2) < distance[:, None]
        ball = torch.where(self._uniform(size) < 0.3, 1.5 + 3 * self._uniform(size), torch.inf)
        return (keep & (position.square().sum(2) < ball.square()[:, None])).float()

    def _warped(self, cloud: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Stretch along the axes and bend by three long waves; normals follow to first order."""
        size = len(cloud)
        stretch = (0.08 * self._normal(size, 1, 3)).clamp(-0.25, 0.25).exp()
        waves = 3
        wave = 0.6 * self._normal(size, waves, 3)
        phase = 6.2832 * self._uniform(size, 1, waves)
        push = 0.06 * self._uniform(size, 1, 1) * self._normal(size, waves, 3)
        position, normal = cloud[..., :3], cloud[..., 3:] / stretch
        slope = torch.cos(position @ wave.mT + phase)
        normal = normal - (slope * (normal @ push.mT)) @ wave
        normal = normal / normal.norm(dim=2, keepdim=True).clamp(min=1e-6)

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


def _turned(normal: Tensor, outwards: Tensor) -> Tensor:
    return torch.where((normal * outwards).sum(2, keepdim=True) < 0, -normal, normal)


def _dense_cloud(
    source: RigSource, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float64]]:
    """Sample one identity: points and normals (N, 6), part labels (N,), anchors (3, 3), canonical."""
    vertices = source.identity(rng)
    anchors = source.anchors(vertices)
    frame = Frame.from_anchors(anchors)
    anchors, vertices, faces = (
        frame.to_canonical(anchors),
        frame.to_canonical(vertices),
        triangles(source.faces),
    )
    normals = face_area_vectors(vertices, faces)
    length = np.linalg.norm(normals, axis=1)
    face = rng.choice(len(faces), SKIN_POINTS, p=length / length.sum())
    corner = rng.dirichlet([1.0, 1.0, 1.0], SKIN_POINTS)
    head = np.concatenate(
        [np.einsum("nk,nkc->nc", corner, vertices[faces[face]]), normals[face] / length[face][:, None]],
        axis=1,
    )
    part = source.part[faces[:, 0]]
    # Parts by falling area: 0 is the skin, which stays.
    order = np.argsort(-np.bincount(part, weights=length))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    hair, torso = _hair(head, rng), _torso(rng)
    label = np.concatenate(
        [
            np.minimum(rank[part[face]], PART_LABELS - 1),
            np.full(EXTRA_POINTS, _HAIR),
            np.full(EXTRA_POINTS, _TORSO),
        ]
    )
    return np.concatenate([head, hair, torso]), label.astype(np.uint8), anchors


def _hair(head: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Inflate the scalp, some of it falling down the back: (EXTRA_POINTS, 6)."""
    back = rng.uniform(0.3, 1.2)
    scalp = head[(head[:, 1] - back * (head[:, 2] + 1)) > rng.uniform(1.0, 2.5)]
    if len(scalp) == 0:
        scalp = head[head[:, 1] > np.quantile(head[:, 1], 0.8)]
    hair = scalp[rng.integers(len(scalp), size=EXTRA_POINTS)].copy()
    centre = np.array(HEAD_CENTRE)
    wave = rng.normal(0, 1.0, (3, 2))
    bumps = np.sin(hair[:, :3] @ wave + rng.uniform(0, 6.3, 2)).sum(1, keepdims=True)
    hair[:, :3] = centre + (hair[:, :3] - centre) * (1 + rng.uniform(0.03, 0.35) * (1 + 0.4 * bumps))
    behind = hair[:, 2] < -1.0
    hair[behind, 1] -= rng.uniform(0, 1, behind.sum()) * rng.choice([0.0, rng.uniform(0, 5)])
    return hair


def _torso(rng: np.random.Generator) -> NDArray[np.float64]:
    """Shoulders as an ellipsoid below the neck: (EXTRA_POINTS, 6)."""
    half = rng.uniform((3, 2, 1.2), (6.5, 7, 2.5))
    direction = rng.normal(size=(EXTRA_POINTS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    centre = np.array([0.0, -rng.uniform(3.5, 4.5) - half[1], rng.uniform(-3, -1.5)])
    normal = direction / half
    return np.concatenate(
        [centre + direction * half, normal / np.linalg.norm(normal, axis=1, keepdims=True)], axis=1
    )
