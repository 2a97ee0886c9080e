"""Rigid motions: those nearest to predicted ones, turns that map axes to axes, and those upright along directions.

Axis legend: P poses, n vertices of one part.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from raf_runtime.surface import cross

__all__ = ["Doubles", "axis_rotations", "nearest_rigid", "nearest_rotations", "upright"]

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
    return _rotations(rest.T @ moved)


def _rotations(covariance: Doubles) -> Doubles:
    u, _, vt = np.linalg.svd(covariance)
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
    arms = rest - rest.mean(axis=0)
    shift = displacements.mean(axis=1, keepdims=True, dtype=np.float64)
    # The shift drops out of the sums, for the arms add up to nothing.
    turned = _rotations(arms.T @ arms + np.stack([arms.T @ motion for motion in displacements]))
    return arms @ (turned - np.eye(3)) + shift


def axis_rotations() -> Doubles:
    """Proper rotations (24, 3, 3) that map axes to axes; the first is the identity."""
    signed = (
        np.diag(signs)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    )
    return np.stack([matrix for matrix in signed if np.linalg.det(matrix) > 0])


def upright(axes: Doubles) -> Doubles:
    """Proper rotation (3, 3) whose Z row is the second of two directions (2, 3), Y nearest to the first."""
    up, forward = axes
    z = forward / max(float(np.linalg.norm(forward)), 1e-12)
    x = cross(up, z)
    length = float(np.linalg.norm(x))
    if length < 1e-6:
        return np.eye(3)
    x /= length
    return np.stack([x, cross(z, x), z])
