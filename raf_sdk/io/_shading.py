"""Vertex normals for viewers; they play no part in rigging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["smooth_normals"]


def smooth_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """Area-weighted vertex normals that also run smoothly across seams.

    Vertices at the same place share their normal where their own differ by less than 60 degrees: seams and
    unshared STL corners do, closed lips and double walls do not.

    Parameters
    ----------
    vertices
        (V, 3) float32, any unit and frame.
    faces
        (T, 3) int32 triangles.

    Returns
    -------
    ndarray
        (V, 3) float32 of unit length; (0, 0, 1) where a vertex has no surface.
    """
    points = vertices.astype(np.float64)
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    own = _sums(faces.reshape(-1), np.repeat(normal, 3, axis=0), len(points))
    rows = np.ascontiguousarray(vertices + np.float32(0)).view(np.dtype((np.void, 12)))[:, 0]
    unique, place = np.unique(rows, return_inverse=True)
    shared = own
    if len(unique) < len(points):
        shared = _sums(place, own, len(unique))[place]
    own, shared = _unit(own), _unit(shared)
    near = np.einsum("vx,vx->v", own, shared) > 0.5
    return np.where(near[:, None], shared, own).astype(np.float32)


def _sums(place: NDArray[Any], values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum (n, 3) values that share one of ``count`` places."""
    sums = np.empty((count, 3))
    for axis in range(3):
        sums[:, axis] = np.bincount(place, weights=values[:, axis], minlength=count)
    return sums


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(length) & (length > 1e-300)
    return np.where(usable, vectors / np.where(usable, length, 1), (0.0, 0.0, 1.0))
