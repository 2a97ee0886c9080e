"""The surface that is computed on: seams welded, broken elements set aside, input vertices remembered.

Axis legend: V input vertices, S surface vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from raf_runtime.errors import MeshError
from raf_runtime.threads import two_at_a_time

__all__ = ["Surface", "all_corners", "cross", "face_area_vectors", "face_areas", "in_box"]

# Two positions closer than this fraction of the bounding-box diagonal are one position: wide enough for the
# rounding of a float32 file and a node transform, far below the distance between closed lips.
COINCIDENT = 1e-6
# Faces across a seam continue each other; faces of touching lips or lids fold back on each other.
FOLD = -0.5


@dataclass(frozen=True, slots=True)
class Surface:
    """A welded triangle surface and its relation to the input mesh.

    Attributes
    ----------
    vertices : (S, 3) float64
        Positions, in the unit and frame of the input.
    faces : (T, 3) int64
        Triangles, no repeated corner and no repeated triangle.
    from_input : (V,) int64
        Surface vertex of every input vertex, -1 where no triangle uses it.
    component : (S,) int64
        Connected component of every surface vertex, numbered by falling area.
    areas : (T,) float64
        Of the triangles.
    set_aside : int
        Number of input triangles left out: repeated corners or duplicates of another triangle.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    from_input: NDArray[np.int64]
    component: NDArray[np.int64]
    areas: NDArray[np.float64]
    set_aside: int

    @classmethod
    def build(cls, vertices: ArrayLike, faces: ArrayLike) -> Surface:
        """Weld the seams of a triangle mesh.

        Parameters
        ----------
        vertices : (V, 3) float
            Positions in any unit and frame.
        faces : (T, 3) int
            Triangles.

        Raises
        ------
        MeshError
            If the arrays have other shapes, are not finite, index outside the vertices, or span no area.
        """
        points, triangles = _checked(vertices, faces)
        weld = _weld(points, triangles)
        corners = weld.take(triangles)
        keep = _proper(corners)
        used = np.zeros(int(weld.max()) + 1, dtype=bool)
        used[corners[keep]] = True
        renumber = np.where(used, np.cumsum(used) - 1, -1)
        from_input = renumber[weld]
        welded_faces = renumber.take(corners[keep])
        position = np.empty((int(used.sum()), 3))
        inside = from_input >= 0
        position[from_input[inside]] = points[inside]
        areas = face_areas(position, welded_faces)
        if not areas.sum() > 0:
            raise MeshError(
                f"the mesh has no area: none of its {len(triangles)} triangles spans a surface. "
                "Export the head as a polygon mesh, not as a point cloud, curve or collapsed shape"
            )
        return cls(
            position,
            welded_faces,
            from_input,
            _components(welded_faces, areas, len(position)),
            areas,
            len(triangles) - int(keep.sum()),
        )

    def to_input(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry values (P, S, C) on the surface to the input vertices (P, V, C); unused vertices get zero."""
        if np.array_equal(self.from_input, np.arange(values.shape[1])):
            return values
        result = np.empty((len(values), len(self.from_input), values.shape[2]), dtype=np.float32)

        def carry(row: int) -> None:
            values[row].take(self.from_input, axis=0, out=result[row], mode="clip")

        two_at_a_time(carry, range(len(values)))
        if (unused := self.from_input < 0).any():
            result[:, unused] = 0
        return result


def all_corners(which: NDArray[np.bool_], faces: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Of which triangles (T, 3) all corners are among some of the vertices (S,)."""
    a, b, c = which.take(faces.T)
    return a & b & c


def in_box(points: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (n, 3) lie in a box (2, 3) of two corners; along columns, many times faster than along rows."""
    within = np.ones(len(points), dtype=bool)
    for along, low, high in zip(points.T, *box, strict=True):
        within &= (along >= low) & (along <= high)
    return within


def face_areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Areas (T,) of triangles, in the square of the vertices' unit."""
    vectors = face_area_vectors(vertices, faces)
    return 0.5 * np.sqrt(np.einsum("ij,ij->i", vectors, vectors))


def face_area_vectors(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normals (T, 3) whose length is twice the area of the triangle."""
    a, b, c = vertices.T.take(faces.T, axis=1).swapaxes(0, 1)
    return cross(b - a, c - a).T


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross products (3, ...) of vectors whose coordinates lie in rows: several times faster than NumPy's."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _checked(vertices: ArrayLike, faces: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points = np.asarray(vertices, dtype=np.float64)
    triangles = np.asarray(faces)
    if points.ndim != 2 or points.shape[1] != 3 or triangles.ndim != 2 or triangles.shape[1] != 3:
        raise MeshError(
            f"expected vertices (V, 3) and triangles (T, 3), got {points.shape} and {triangles.shape}"
        )
    if len(points) == 0 or len(triangles) == 0:
        raise MeshError(f"the mesh is empty: {len(points)} vertices and {len(triangles)} triangles")
    if not np.issubdtype(triangles.dtype, np.integer):
        raise MeshError(f"face indices must be integers, got {triangles.dtype}")
    if not np.isfinite(points).all():
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
        raise MeshError(
            f"vertex {bad[0]} is not finite: {points[bad[0]].tolist()} ({len(bad)} such vertices). "
            "Remove or repair them before rigging"
        )
    if triangles.min() < 0 or triangles.max() >= len(points):
        outside = np.flatnonzero(((triangles < 0) | (triangles >= len(points))).any(axis=1))
        raise MeshError(
            f"face {outside[0]} references vertex {triangles[outside[0]].max()}; "
            f"the mesh has {len(points)} (indices start at 0)"
        )
    return points, triangles.astype(np.int64, copy=False)


def _weld(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Label (V,) that two vertices share where open edges meet and the faces continue each other.

    Closeness alone would glue lips, lids and double walls. A seam is more: an open edge that coincides with
    another open edge, run through in the opposite direction, between faces that do not fold back.
    """
    start, end = triangles.ravel(), triangles[:, [1, 2, 0]].ravel()
    edge = np.minimum(start, end) * len(points) + np.maximum(start, end)
    order = np.argsort(edge)
    differs = np.diff(edge[order], prepend=-1, append=-1) != 0
    boundary = np.sort(order[differs[1:] & differs[:-1]])
    a, b = start[boundary], end[boundary]
    pa, pb = _coincidence(points, np.stack([a, b]))
    distinct = pa != pb
    boundary, a, b, pa, pb = boundary[distinct], a[distinct], b[distinct], pa[distinct], pb[distinct]
    key = np.minimum(pa, pb) * len(points) + np.maximum(pa, pb)
    forward, backward = np.flatnonzero(pa < pb), np.flatnonzero(pa > pb)
    forward, backward = forward[np.argsort(key[forward])], backward[np.argsort(key[backward])]
    first = np.searchsorted(key[backward], key[forward], "left")
    count = np.searchsorted(key[backward], key[forward], "right") - first
    f = np.repeat(forward, count)
    offset = np.arange(len(f)) - np.repeat(np.cumsum(count) - count, count)
    g = backward[np.repeat(first, count) + offset]
    if len(f) == 0:
        return np.arange(len(points))
    normal = face_area_vectors(points, triangles[boundary // 3])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    smooth = np.einsum("ij,ij->i", normal[f], normal[g])
    chosen = _mutual_best(f, g, smooth) & (smooth > FOLD)
    f, g = f[chosen], g[chosen]
    links = np.concatenate([a[f], b[f]]), np.concatenate([b[g], a[g]])
    graph = sparse.coo_array((np.ones(len(links[0])), links), shape=(len(points), len(points)))
    return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _coincidence(points: NDArray[np.float64], vertices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels, in the shape of ``vertices``, shared by those at the same position."""
    low = points.T.copy().min(axis=1)  # along columns: many times faster
    diagonal = float(np.linalg.norm(points.T.copy().max(axis=1) - low))
    if diagonal == 0:
        return np.zeros(vertices.shape, dtype=np.int64)
    cell = np.rint((points[vertices] - low) / (COINCIDENT * diagonal)).astype(np.int64)
    # A cell index is at most 1e6 per axis, so three of them fit one int64.
    packed = (cell[..., 0] * 1_000_003 + cell[..., 1]) * 1_000_003 + cell[..., 2]
    return np.unique(packed, return_inverse=True)[1].reshape(vertices.shape)


def _mutual_best(f: NDArray[np.int64], g: NDArray[np.int64], score: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask of the pairs (f, g) that are each other's best by score."""
    best = np.ones(len(f), dtype=bool)
    for side in (f, g):
        order = np.lexsort((-score, side))
        lead = np.ones(len(f), dtype=bool)
        lead[1:] = side[order][1:] != side[order][:-1]
        best[order[~lead]] = False
    return best


def _proper(corners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask (T,) of the triangles with three different corners, each set of corners once."""
    a, b, c = corners.T
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    middle = a + b + c - low - high
    edge = low * (int(corners.max()) + 1) + middle
    order = np.lexsort((high, edge))
    repeat = np.zeros(len(corners), dtype=bool)
    repeat[order[1:]] = (np.diff(edge[order]) == 0) & (np.diff(high[order]) == 0)
    return (low != middle) & (middle != high) & ~repeat


def _components(faces: NDArray[np.int64], areas: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = sparse.coo_array((np.ones(len(edges), dtype=np.int8), tuple(edges.T)), shape=(size, size))
    count, label = csgraph.connected_components(graph, directed=False)
    area = np.bincount(label[faces[:, 0]], weights=areas, minlength=count)
    rank = np.empty(count, dtype=np.int64)
    rank[np.argsort(-area, kind="stable")] = np.arange(count)
    return rank[label]
