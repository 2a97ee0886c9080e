"""Mirrored shapes mirror: what a left shape does, its right twin does on the other side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.spatial import KDTree

from raf_sdk._report import Bar, Check
from raf_sdk.check._head import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["check_mirror"]

MIRROR: Final = np.array([-1.0, 1.0, 1.0])
# The part of the head that shapes move, and that tells how symmetric it is.
FRONT: Final = -1.5
STEPS: Final = 12
SAMPLE: Final = 4000
# Facing the same way counts as much as this distance, so that upper lips meet upper lips.
FACING: Final = 0.2
# Of the face, 95 % must lie this close to the other half mirrored: 4 mm on an adult.
SYMMETRIC: Final = 0.1
BAR: Final = Bar("of the motion differs from its mirror image", high=0.6)


def check_mirror(head: Head) -> Iterator[Check]:
    """Compare each left shape with its right twin, and the directions left and right with each other."""
    name = "mirrors"
    pairs = [(shape, shape.removesuffix("Left") + "Right") for shape in head.names if shape.endswith("Left")]
    pairs = [pair for pair in pairs if pair[1] in head]
    if not pairs:
        yield Check.unasked(name, [], "the rig has no shape with its twin")
        return
    partner, reflect, gap = _mirrored(head)
    if gap > SYMMETRIC:
        yield Check.unasked(name, [], f"the neutral is not symmetric: halves differ by {gap:.2f} units")
        return
    for left, right in pairs:
        expected = head.motion(left)[partner] @ reflect.T
        found = head.motion(right)
        scale = max(_norm(head, expected), _norm(head, found))
        if scale > 0:
            bad = f"{left} is not the mirror image of {right}"
            yield Check.judged(
                name, [left, right], _norm(head, expected - found) / scale, BAR, "they do", bad
            )


def _norm(head: Head, motion: NDArray[np.float64]) -> float:
    return float(np.sqrt(head.area @ (motion**2).sum(axis=1)))


def _mirrored(head: Head) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """For each vertex the one (S,) at its mirror image, the reflection (3, 3), and how far halves are apart."""
    normals = _normals(head)
    features = np.concatenate([head.points, FACING * normals], axis=1)
    tree = KDTree(features)
    face = np.flatnonzero(
        (head.points[:, 2] > FRONT) & (head.points[:, 1] < 2.3) & (head.points[:, 1] > -2.5)
    )
    if len(face) == 0:
        return np.arange(len(head.points)), np.diag(MIRROR), np.inf
    sample = face[:: max(1, len(face) // SAMPLE)]
    reflect, shift = np.diag(MIRROR), np.zeros(3)
    # Iterative closest points: the plane of symmetry is near X = 0, but the frame is not exact.
    for _ in range(STEPS):
        distance, partner = _nearest(tree, _reflected(features[sample], reflect, shift))
        kept = distance <= np.quantile(distance, 0.8)
        source, target = head.points[sample[kept]], head.points[partner[kept]]
        u, _, vt = np.linalg.svd((target - target.mean(axis=0)).T @ (source - source.mean(axis=0)))
        u[:, 2] *= -np.linalg.det(u @ vt)
        reflect = u @ vt
        shift = target.mean(axis=0) - reflect @ source.mean(axis=0)
    distance, partner = _nearest(tree, _reflected(features, reflect, shift))
    return partner, reflect, float(np.quantile(distance[face], 0.95))


def _nearest(tree: KDTree, wanted: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance and index (n,) of the point of a tree nearest to each of some others (n, 6)."""
    distance, index = tree.query(wanted)
    return np.asarray(distance, np.float64), np.asarray(index, np.int64)


def _reflected(
    features: NDArray[np.float64], reflect: NDArray[np.float64], shift: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.concatenate([features[:, :3] @ reflect.T + shift, features[:, 3:] @ reflect.T], axis=1)


def _normals(head: Head) -> NDArray[np.float64]:
    a, b, c = (head.points[head.faces[:, i]] for i in range(3))
    vectors = np.cross(b - a, c - a)
    corners = head.faces.T.reshape(-1)
    total = np.stack([np.bincount(corners, np.tile(v, 3), len(head.points)) for v in vectors.T], axis=1)
    return total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-300)
