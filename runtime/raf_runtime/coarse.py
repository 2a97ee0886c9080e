"""A coarser stand-in for a surface of very many vertices, and the way back.

Axis legend: S surface vertices, C clusters, T triangles, P poses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from raf_runtime.surface import face_area_vectors, face_areas
from raf_runtime.threads import two_at_a_time

__all__ = ["Coarse"]

# Averaging over neighbours this often spreads a cluster's motion over the few rings that a cluster spans.
SMOOTHINGS = 4


@dataclass(frozen=True, slots=True)
class Coarse:
    """Clusters of nearby vertices that face the same way, joined where their vertices are.

    Attributes
    ----------
    vertices : (C, 3) float64
        Mean position of each cluster.
    faces : (T, 3) int64
        Triangles between clusters; every cluster is in one.
    component : (C,) int64
        Connected component of the surface that each cluster belongs to.
    cluster : (S,) int64
        Cluster of each vertex, -1 where its cluster is in no triangle.
    averaging : (S, S) sparse float32
        Mean over a vertex and its neighbours.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    component: NDArray[np.int64]
    cluster: NDArray[np.int64]
    averaging: sparse.csr_array

    @classmethod
    def build(
        cls,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int64],
        component: NDArray[np.int64],
        wanted: int,
    ) -> Coarse:
        """Cluster the vertices of a surface by cell, component and the octant of their normal.

        Lips and lids that touch face each other, so that no cluster holds both.
        """
        label = _clusters(vertices, faces, component, wanted)
        corners = label[faces]
        a, b, c = corners.T
        corners = corners[(a != b) & (b != c) & (c != a)]
        corners = corners[np.unique(np.sort(corners, axis=1), axis=0, return_index=True)[1]]
        used, compact = np.unique(corners, return_inverse=True)
        renumber = np.full(int(label.max()) + 1, -1, dtype=np.int64)
        renumber[used] = np.arange(len(used))
        cluster = renumber[label]
        inside = cluster >= 0
        size = np.bincount(cluster[inside])
        centre = np.stack(
            [np.bincount(cluster[inside], vertices[inside, i]) / size for i in range(3)], axis=1
        )
        owner = np.zeros(len(used), dtype=np.int64)
        owner[cluster[inside]] = component[inside]
        averaging = _averaging(faces, len(vertices))
        lost = _spread(averaging, inside.astype(np.float32)) == 0
        cluster[lost] = KDTree(centre).query(vertices[lost])[1]
        return cls(
            centre, compact.reshape(-1, 3), _ranked(owner, centre, compact.reshape(-1, 3)), cluster, averaging
        )

    def to_fine(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry values (P, C, 3) of the clusters to values (P, S, 3) of the surface."""
        known = (self.cluster >= 0).astype(np.float32)
        share = _spread(self.averaging, known)[:, None]
        source = np.maximum(self.cluster, 0)
        result = np.empty((len(values), len(source), 3), dtype=np.float32)

        def carry(pose: int) -> None:
            np.divide(_spread(self.averaging, values[pose][source] * known[:, None]), share, out=result[pose])

        two_at_a_time(carry, range(len(values)))
        return result


def _clusters(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], component: NDArray[np.int64], wanted: int
) -> NDArray[np.int64]:
    area_vectors = face_area_vectors(vertices, faces)
    normal = np.stack(
        [np.bincount(faces.ravel(), np.repeat(area_vectors[:, i], 3), len(vertices)) for i in range(3)],
        axis=1,
    )
    octant = (normal > 0) @ np.array([1, 2, 4])
    # A surface crosses about 1.5 cells for every cell's face of area.
    edge = np.sqrt(1.5 * face_areas(vertices, faces).sum() / wanted)
    cell = np.floor((vertices - vertices.min(axis=0)) / edge).astype(np.int64)
    table = np.column_stack([cell, octant, component])
    return np.unique(table, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _averaging(faces: NDArray[np.int64], size: int) -> sparse.csr_array:
    start, end = faces[:, [0, 1, 2, 1, 2, 0]].ravel(), faces[:, [1, 2, 0, 0, 1, 2]].ravel()
    adjacency = sparse.coo_array(
        (np.ones(len(start), dtype=np.float32), (start, end)), shape=(size, size)
    ).tocsr()
    adjacency.data[:] = 1
    adjacency = adjacency + sparse.diags_array(np.ones(size, dtype=np.float32))
    return sparse.csr_array(sparse.diags_array((1 / adjacency.sum(axis=1)).astype(np.float32)) @ adjacency)


def _spread(averaging: sparse.csr_array, values: NDArray[np.float32]) -> NDArray[np.float32]:
    for _ in range(SMOOTHINGS):
        values = averaging @ values
    return values


def _ranked(
    owner: NDArray[np.int64], vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number the components that still have triangles by falling area."""
    _, dense = np.unique(owner, return_inverse=True)
    area = np.bincount(dense[faces[:, 0]], face_areas(vertices, faces), minlength=int(dense.max()) + 1)
    rank = np.empty(len(area), dtype=np.int64)
    rank[np.argsort(-area, kind="stable")] = np.arange(len(area))
    return rank[dense]
