"""Eyeballs move rigidly: replace a predicted motion by the nearest rotation and translation.

Axis legend: S surface vertices, P poses, n vertices of one part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["move_rigidly", "round_parts"]

# Largest distance from the best sphere, in its radii: leaves room for a bulging cornea (0.14 on ICT-FaceKit).
ROUND = 0.2
# Smallest standard deviation along an axis, in radii: 0.29 of a hemisphere; at most 0.18 of lashes, lids and fluids.
SPREAD = 0.25
# Radii of eyeballs in canonical units: a human's is about 0.32, a cartoon's several times that.
RADII = (0.1, 1.2)
FEWEST = 20


def round_parts(vertices: NDArray[np.float64], component: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Vertex indices of the parts, other than the largest, that lie on a sphere the size of an eyeball."""
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [part for part in parts[1:] if len(part) >= FEWEST and _is_round(vertices[part])]


def _is_round(points: NDArray[np.float64]) -> bool:
    """Whether an algebraic sphere (Coope 1993: linear least squares) fits, and points cover a cap of it."""
    centred = points - points.mean(axis=0)
    system = np.column_stack([2 * centred, np.ones(len(points))])
    solution = np.linalg.lstsq(system, np.square(centred).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    radius = float(np.sqrt(max(solution[3] + centre @ centre, 0.0)))
    if not RADII[0] < radius < RADII[1]:
        return False
    depth = np.linalg.norm(centred - centre, axis=1)
    # A lash strip or a lid also lies near some sphere, but spans a small part of it.
    spread = np.linalg.eigvalsh(np.cov(centred.T))[0] ** 0.5 / radius
    return bool(np.abs(depth - radius).max() < ROUND * radius and spread > SPREAD)


def move_rigidly(
    vertices: NDArray[np.float64], displacements: NDArray[np.float32], parts: list[NDArray[np.int64]]
) -> None:
    """Replace the displacements (P, S, 3) of each part, in place, by the nearest rigid motion per pose.

    Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).
    """
    for part in parts:
        rest = vertices[part]
        moved = rest + displacements[:, part]
        rest_centre, moved_centre = rest.mean(axis=0), moved.mean(axis=1, keepdims=True)
        correlation = (rest - rest_centre).T @ (moved - moved_centre)
        u, _, vt = np.linalg.svd(correlation)
        u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
        displacements[:, part] = (rest - rest_centre) @ (u @ vt) + moved_centre - rest
