"""Heads as dense point clouds in their canonical frames: warped, dressed, with hair and shoulders that rigs lack."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame import HEAD_CENTRE, Frame
from raf_runtime.surface import face_area_vectors
from raf_training.data.rig_source import RigSource
from raf_training.data.rocketbox import RocketboxHead
from raf_training.data.wardrobe import Wardrobe
from raf_training.data.warp import draw_warp

__all__ = ["EXTRA_POINTS", "HAIR", "LABELS", "POINTS", "TORSO", "WORN", "Head", "dense_cloud", "triangles"]

Head = RigSource | RocketboxHead

POINTS: Final = 8192
# Hair and shoulders that the rigs lack: some training heads wear inflated scalps, or stand on ellipsoids.
EXTRA_POINTS: Final = 512
# Loose parts (eyeballs, teeth, lashes, ...) are dropped by label; labels beyond this number share one.
PART_LABELS: Final = 14
WORN, HAIR, TORSO = PART_LABELS, PART_LABELS + 1, PART_LABELS + 2
LABELS: Final = PART_LABELS + 3
# How many heads are warped to faces that no rig has; a rig without identities always is.
WARPED: Final = 0.45


def triangles(faces: NDArray[np.int32]) -> NDArray[np.int64]:
    """Split quads (F, 4), whose last column is -1 for a triangle, into triangles (T, 3)."""
    quads = faces[faces[:, 3] >= 0]
    return np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]]).astype(np.int64)


def dense_cloud(
    head: Head, wardrobe: Wardrobe, rng: np.random.Generator, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.float64]]:
    """Sample one head that wears an outfit, its own or another.

    Parameters
    ----------
    head
        A rig to draw an identity of, or a neutral head.
    wardrobe
        Outfits for who has none.
    rng
        The only source of chance.
    reach
        Sample only what is this near to the origin, in units.

    Returns
    -------
    cloud : (N, 6) float64
        Canonical points and unit normals: POINTS of the head and what it wears, in no order, then EXTRA_POINTS
        each of hair and shoulders.
    label : (N,) uint8
        Parts of the head by falling area, 0 the largest; WORN, HAIR, TORSO.
    anchors : (3, 3) float64
        Canonical.
    """
    vertices, faces, label, anchors = _plain(head, rng)
    if rng.random() < WARPED or (isinstance(head, RigSource) and not len(head.modes)):
        warp = draw_warp(rng, rng.uniform(0.3, 1.0))
        vertices, anchors = warp(vertices), warp(anchors)
    frame = Frame.from_anchors(anchors)
    vertices, anchors = frame.to_canonical(vertices), frame.to_canonical(anchors)
    if not (label == WORN).any():
        worn, worn_faces = wardrobe.dress(rng, vertices)
        faces = np.concatenate([faces, worn_faces + len(vertices)])
        vertices = np.concatenate([vertices, worn])
        label = np.concatenate([label, np.full(len(worn_faces), WORN)])
    normals = face_area_vectors(vertices, faces)
    length = np.linalg.norm(normals, axis=1)
    chance = length * (np.linalg.norm(vertices[faces].mean(axis=1), axis=1) < reach)
    face = rng.choice(len(faces), POINTS, p=chance / chance.sum())
    corner = rng.dirichlet([1.0, 1.0, 1.0], POINTS)
    cloud = np.concatenate(
        [np.einsum("nk,nkc->nc", corner, vertices[faces[face]]), normals[face] / length[face][:, None]],
        axis=1,
    )
    own = cloud[label[face] != WORN]
    extra = np.repeat([HAIR, TORSO], EXTRA_POINTS)
    return (
        np.concatenate([cloud, _hair(own, rng), _torso(rng)]),
        np.concatenate([label[face], extra]).astype(np.uint8),
        anchors,
    )


def _plain(
    head: Head, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Vertices, triangles and their labels, anchors."""
    if isinstance(head, RocketboxHead):
        return head.vertices, head.faces, np.where(head.worn, WORN, 0), head.anchors
    vertices = head.identity(rng)
    anchors = head.anchors(vertices)
    frame = Frame.from_anchors(anchors)
    points, faces = frame.to_canonical(vertices), triangles(head.faces)
    part = head.part[faces[:, 0]]
    area = np.bincount(part, weights=np.linalg.norm(face_area_vectors(points, faces), axis=1))
    rank = np.empty(len(area), np.int64)
    rank[np.argsort(-area)] = np.arange(len(area))
    return points, faces, np.minimum(rank[part], PART_LABELS - 1), frame.to_canonical(anchors)


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
