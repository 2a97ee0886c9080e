"""Triangles without order, to take samples of: all of a mesh, its ends, its pieces, what is near.

Axis legend: V vertices, T triangles, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from raf_runtime.surface import face_area_vectors

__all__ = ["Soup", "facing", "squares"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Soup:
    """Triangles to take samples of: area, and centre and radius of a ball around each."""

    vertices: Doubles
    faces: NDArray[np.int64]
    area_vector: Doubles
    area: Doubles
    middle: Doubles
    radius: Doubles

    @classmethod
    def build(cls, vertices: Doubles, faces: NDArray[np.int64]) -> Soup:
        """Measure the triangles (T, 3) between vertices (V, 3)."""
        area_vector = face_area_vectors(vertices, faces)
        corners = vertices.take(faces.T, axis=0)
        middle = (corners[0] + corners[1] + corners[2]) / 3
        corners -= middle
        radius = np.sqrt(np.max([squares(corner) for corner in corners], axis=0))
        return cls(vertices, faces, area_vector, np.sqrt(squares(area_vector)) / 2, middle, radius)

    def part(self, faces: NDArray[np.int64]) -> Soup:
        """Some of the triangles."""
        chosen = (self.area_vector[faces], self.area[faces], self.middle[faces], self.radius[faces])
        return Soup(self.vertices, self.faces[faces], *chosen)

    def box(self) -> tuple[Doubles, Doubles]:
        """Low and high corner (3,) around the middles."""
        columns = self.middle.T.copy()  # along them, many times faster
        return columns.min(axis=1), columns.max(axis=1)

    def ends(self, share: float) -> Iterator[Soup]:
        """What lies within a share of the extent from each of the six ends, along the axes."""
        for along in self.middle.T:
            reach = share * float(np.ptp(along))
            for near in (along > along.max() - reach, along < along.min() + reach):
                yield self.part(np.flatnonzero(near))

    def pieces(self, count: int, component: NDArray[np.int64] | None) -> list[NDArray[np.int64]]:
        """Triangles of the few connected pieces with most of them, largest first: faces are modelled finely.

        The component of each vertex, (V,), is found if it is not known.
        """
        if component is None:
            start, end = self.faces.ravel(), np.roll(self.faces, 1, axis=1).ravel()
            size = len(self.vertices)
            edges = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(size, size))
            piece = connected_components(edges, directed=False)[1][self.faces[:, 0]]
        else:
            piece = component[self.faces[:, 0]]
        largest = np.argsort(-np.bincount(piece), kind="stable")[:count]
        return [np.flatnonzero(piece == number) for number in largest]

    def around(self, centre: Doubles, radius: float) -> NDArray[np.int64]:
        """Triangles that reach into a ball, by number."""
        return np.flatnonzero(squares(self.middle - centre) < (self.radius + radius) ** 2)

    def sample(self, faces: NDArray[np.int64], count: int) -> tuple[Doubles, Doubles]:
        """Spread ``count`` points (N, 3) and their unit normals (N, 3) evenly over some of the faces."""
        total = np.cumsum(self.area.take(faces))
        place = np.searchsorted(total, (np.arange(count) + 0.5) * (total[-1] / count))
        face = faces[place.clip(max=len(faces) - 1)]
        # Additive recurrence of the plastic number: Roberts, "The Unreasonable Effectiveness of Quasirandom
        # Sequences", 2018.
        u, v = ((np.arange(count)[:, None] + 0.5) * (0.7548776662466927, 0.5698402909980532) % 1).T
        beyond = u + v > 1
        u, v = np.where(beyond, 1 - u, u)[:, None], np.where(beyond, 1 - v, v)[:, None]
        a, b, c = self.vertices.take(self.faces[face].T, axis=0)
        normal = self.area_vector[face] / np.maximum(2 * self.area[face], np.finfo(np.float64).tiny)[:, None]
        return a + u * (b - a) + v * (c - a), normal


def squares(vectors: Doubles) -> Doubles:
    """Squared lengths (N,) of vectors (N, 3)."""
    return np.einsum("ij,ij->i", vectors, vectors)


def facing(directions: Doubles, outwards: Doubles) -> Doubles:
    """Directions (N, 3) with the sign that agrees with ``outwards`` (N, 3)."""
    return np.where(np.einsum("ij,ij->i", directions, outwards)[:, None] < 0, -directions, directions)
