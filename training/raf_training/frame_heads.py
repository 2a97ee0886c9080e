"""Heads as dense point clouds in their canonical frame, with the hair and shoulders that rigs lack."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame import HEAD_CENTRE, Frame
from raf_runtime.surface import face_area_vectors
from raf_training.data.rig_source import RigSource

__all__ = ["EXTRA_POINTS", "HAIR", "PART_LABELS", "SKIN_POINTS", "TORSO", "dense_cloud", "triangles"]

SKIN_POINTS: Final = 6144
# Hair and shoulders that the rigs lack: some training heads wear inflated scalps, or stand on ellipsoids.
EXTRA_POINTS: Final = 768
# Loose parts (eyeballs, teeth, lashes, ...) are dropped by label; labels beyond this number share one.
PART_LABELS: Final = 14
HAIR, TORSO = PART_LABELS, PART_LABELS + 1


def triangles(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Split quads (F, 4), whose last column is -1 for a triangle, into triangles (T, 3)."""
    quads = faces[faces[:, 3] >= 0]
    return np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)


def dense_cloud(
    source: RigSource, rng: np.random.Generator, reach: float
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
    chance = length * (np.linalg.norm(vertices[faces].mean(axis=1), axis=1) < reach)
    face = rng.choice(len(faces), SKIN_POINTS, p=chance / chance.sum())
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
            np.full(EXTRA_POINTS, HAIR),
            np.full(EXTRA_POINTS, TORSO),
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
