"""Rigid motions nearest to predicted ones.

Axis legend: P poses, n vertices of one part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Doubles", "nearest_rigid", "nearest_rotations"]

Doubles = NDArray[np.float64]


def nearest_rotations(rest: Doubles, moved: Doubles) -> Doubles:
    """Rotations (P, 3, 3) about the origin that bring ``rest @ rotation`` closest to ``moved``.

    Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).

    Parameters
    ----------
    rest : (n, 3) float64
        Points, relative to the fixed one.
    moved : (P, n, 3) float64
        Where they go.
    """
    u, _, vt = np.linalg.svd(rest.T @ moved)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def nearest_rigid(rest: Doubles, displacements: NDArray[np.float32]) -> Doubles:
    """Displacements (P, n, 3) of the rigid motions, rotation and translation, nearest to those given.

    Parameters
    ----------
    rest : (n, 3) float64
        Points of one part, or of several that move as one.
    displacements : (P, n, 3) float32
        Their predicted motion.
    """
    centre = rest.mean(axis=0)
    moved = rest + displacements
    moved_centre = moved.mean(axis=1, keepdims=True)
    return (rest - centre) @ nearest_rotations(rest - centre, moved - moved_centre) + moved_centre - rest
