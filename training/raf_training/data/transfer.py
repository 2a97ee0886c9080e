"""Deformation transfer: the shapes of one mesh for another.

Sumner and Popovic, "Deformation Transfer for Triangle Meshes" (2004), in the form with one unknown per vertex of
Botsch, Sumner, Pauly and Gross, "Deformation Transfer for Detail-Preserving Surface Editing" (2006): every target
triangle shall change as its partners of the source do, in the least squares of a Poisson equation.

Axis legend: V vertices and T triangles of a mesh, N pairs of triangles, P shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from raf_runtime.surface import face_area_vectors

__all__ = ["deformation_gradients", "solver", "transfer"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

# A Poisson equation leaves the place open, and the slope of large, thinly connected pieces to rounding: a weak
# pull (per squared canonical unit) towards the displacement of the partners, in place of vertices pinned by hand.
PULL = 0.5


def deformation_gradients(vertices: Doubles, faces: Ints, shape: Doubles) -> Doubles:
    """Change of every triangle's frame (edge, edge, normal over the root of its length), less the identity.

    Parameters
    ----------
    vertices : (V, 3) float64
        Neutral.
    faces : (T, 3) int64
        Triangles.
    shape : (V, 3) float64
        Displacements.

    Returns
    -------
    (T, 3, 3) float64
        Zero for a triangle without area.
    """
    before, after = _frames(vertices, faces), _frames(vertices + shape, faces)
    proper = np.abs(np.linalg.det(before)) > 1e-12
    inverse = np.linalg.inv(np.where(proper[:, None, None], before, np.eye(3)))
    return np.where(proper[:, None, None], after @ inverse - np.eye(3), 0.0)


def transfer(
    vertices: Doubles,
    faces: Ints,
    pairs: tuple[Ints, Ints],
    gradients: Sequence[NDArray[np.floating]],
    motions: Sequence[NDArray[np.floating]],
) -> Doubles:
    """Move a mesh so that its triangles change as their partners do.

    Parameters
    ----------
    vertices, faces : (V, 3) float64, (T, 3) int64
        The target; vertices of no triangle stay.
    pairs : (N,) int64, (N,) int64
        Target triangle and source triangle; a target triangle's partners are averaged.
    gradients : P arrays (T of the source, 3, 3)
        As :func:`deformation_gradients` gives them.
    motions : P arrays (T of the source, 3)
        Mean displacement of each source triangle; this is what pulls weakly.

    Returns
    -------
    (P, V, 3) float64
        Displacements.
    """
    gradient, area = _gradient(vertices, faces)
    weighted = sparse.csr_array(gradient.T @ sparse.diags_array(np.repeat(area, 3)))
    corners = (np.repeat(area / 3, 3), (faces.ravel(), np.repeat(np.arange(len(faces)), 3)))
    to_vertices = sparse.csr_array(corners, (len(vertices), len(faces)))
    share = to_vertices.sum(axis=1)
    unused = 1e-9 * share.mean() * (share == 0)
    solve = solver(sparse.csc_array(weighted @ gradient + sparse.diags_array(PULL * share + unused)))
    ours, theirs = pairs
    mean = sparse.csr_array((np.ones(len(ours)), (ours, theirs)), (len(faces), len(gradients[0])))
    mean = sparse.diags_array(1 / np.maximum(np.bincount(ours, minlength=len(faces)), 1)) @ mean
    moved = np.empty((len(gradients), *vertices.shape))
    for pose, (changes, motion) in enumerate(zip(gradients, motions, strict=True)):
        # A gradient's rows are axes of space and its columns components: the transpose of a Jacobian.
        wanted = (mean @ changes.reshape(-1, 9)).reshape(-1, 3, 3).transpose(0, 2, 1).reshape(-1, 3)
        moved[pose] = solve(weighted @ wanted + PULL * (to_vertices @ (mean @ motion)))
    return moved


def solver(matrix: sparse.csc_array) -> Callable[[Doubles], Doubles]:
    """Factor a symmetric positive definite matrix, once for all right-hand sides."""
    symmetric = {"SymmetricMode": True}
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=symmetric).solve


def _frames(vertices: Doubles, faces: Ints) -> Doubles:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    root = np.sqrt(np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30))
    return np.stack([b - a, c - a, normal / root], axis=2)


def _gradient(vertices: Doubles, faces: Ints) -> tuple[sparse.csr_array, Doubles]:
    """Gradient (3 T, V) of piecewise linear functions, axis by axis within a triangle, and areas (T,)."""
    vector = face_area_vectors(vertices, faces)
    double = np.maximum(np.linalg.norm(vector, axis=1), 1e-12)
    unit = vector / double[:, None]
    corners = vertices[faces]
    # The gradient of a corner's hat function: the opposite edge, turned by 90 degrees, over twice the area.
    hats = np.stack(
        [
            np.cross(unit, corners[:, (i + 2) % 3] - corners[:, (i + 1) % 3]) / double[:, None]
            for i in range(3)
        ],
        axis=2,
    )
    rows = np.repeat(np.arange(3 * len(faces)), 3)
    columns = np.repeat(faces, 3, axis=0).ravel()
    return sparse.csr_array((hats.ravel(), (rows, columns)), (3 * len(faces), len(vertices))), double / 2
