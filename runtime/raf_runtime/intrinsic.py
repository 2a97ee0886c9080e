"""The Laplacian of a surface on its intrinsic Delaunay triangulation.

The same surface can be cut into triangles in many ways, and what the plain cotangent Laplacian says of it depends on
which: on meshes of a few hundred vertices its low eigenvectors lose a tenth of what they should span. Here edges are
turned, within the surface, until the angles opposite each of them sum to 180 degrees at most (Fisher, Springborn,
Schröder, Bobenko, "An Algorithm for the Construction of Intrinsic Delaunay Triangulations", 2007). Lengths are all
that this needs; slivers are first given a little length (Sharp and Crane, "A Laplacian for Nonmanifold Triangle
Meshes", 2020, section 4.5). An edge of one face, or of more than two, stays.

Turning goes in rounds: in each, edges that share no face are turned at once.

Axis legend: S vertices, T triangles, E edges, n edges that are turned in a round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Triangulation", "laplacian_and_mass"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

# Of the mean length of the edges: how far the triangle inequality is from equality at least.
LEAST_SLACK: Final = 1e-5
# Sum of two cotangents that still counts as zero.
ROUNDING: Final = 1e-9
# Turning ends by itself, on heads within twenty rounds; rounding shall not keep it going.
MOST_ROUNDS: Final = 200
_NEXT: Final = np.array([1, 2, 0])
_TINY: Final = float(np.finfo(np.float64).tiny)


@dataclass(slots=True)
class Triangulation:
    """Triangles glued along their sides. Side i of a triangle lies opposite its corner i.

    Attributes
    ----------
    corner : (T, 3) int64
        Vertices.
    edge : (T, 3) int64
        Edge that each side is.
    length : (E,) float64
    sides : (E, 2) int64
        The two sides, counted through all triangles, of each edge; -1 where it has another number of them.
    """

    corner: Ints
    edge: Ints
    length: Doubles
    sides: Ints

    @classmethod
    def of(cls, vertices: Doubles, faces: Ints) -> Triangulation:
        """Take the triangles of a mesh as they are."""
        start, end = faces[:, _NEXT].ravel(), faces[:, _NEXT[_NEXT]].ravel()
        key = np.minimum(start, end) * len(vertices) + np.maximum(start, end)
        order = np.argsort(key, kind="stable")
        leads = np.flatnonzero(np.diff(key[order], prepend=-1))
        count = np.diff(leads, append=len(key))
        edge = np.empty(len(key), dtype=np.int64)
        edge[order] = np.repeat(np.arange(len(leads)), count)
        sides = np.full((len(leads), 2), -1)
        paired = count == 2
        sides[paired] = order[leads[paired, None] + np.arange(2)]
        along = vertices.take(start[order[leads]], axis=0) - vertices.take(end[order[leads]], axis=0)
        length = np.sqrt(np.einsum("ij,ij->i", along, along))
        edge = edge.reshape(-1, 3)
        a, b, c = length.take(edge).T
        slack = np.minimum(np.minimum(a + b - c, b + c - a), c + a - b).min()
        length += max(LEAST_SLACK * length.mean() - slack, 0.0)
        return cls(faces.copy(), edge, length, sides)

    def cotangents(self, sides: Ints) -> tuple[Doubles, Doubles]:
        """Cotangents (...) of the angles opposite some sides, and areas of their triangles."""
        triangle, i = sides // 3, sides % 3
        own, next_, last = (
            np.square(self.length.take(self.edge[triangle, k])) for k in (i, _NEXT[i], _NEXT[_NEXT[i]])
        )
        others = next_ + last
        # Heron's formula; lengths with a little slack do not cancel.
        area = np.sqrt(np.maximum(4 * next_ * last - np.square(others - own), _TINY)) / 4
        return (others - own) / (4 * area), area

    def make_delaunay(self) -> None:
        """Turn edges until all are Delaunay."""
        suspect = self.sides[:, 0] >= 0
        for _ in range(MOST_ROUNDS):
            edges = np.flatnonzero(suspect)
            triangles = self.sides[edges] // 3
            opposite = np.add(*self.cotangents(self.sides[edges].T)[0])
            bad = (opposite < -ROUNDING) & (triangles[:, 0] != triangles[:, 1])
            suspect[edges[~bad]] = False
            edges, triangles = edges[bad], triangles[bad]
            if not len(edges):
                return
            # Of the edges of a triangle the worst is turned, if it is the worst of both.
            rank = np.empty(len(edges), dtype=np.int64)
            rank[np.argsort(opposite[bad], kind="stable")] = np.arange(len(edges))
            worst = np.full(len(self.corner), len(edges))
            np.minimum.at(worst, triangles, rank[:, None])
            turned = edges[(worst.take(triangles) == rank[:, None]).all(axis=1)]
            suspect[turned] = False
            around = self._turn(turned)
            suspect[around] = self.sides[around, 0] >= 0

    def _turn(self, edges: Ints) -> Ints:
        """Turn edges (n,) that share no triangle; returns those around them (4, n)."""
        first, second = self.sides[edges].T
        p, i, q, j = first // 3, first % 3, second // 3, second % 3
        # Seen from p, the edge runs from a to b, c is the corner opposite in p and d the one in q.
        i1, i2, j1, j2 = _NEXT[i], _NEXT[_NEXT[i]], _NEXT[j], _NEXT[_NEXT[j]]
        c, a, b, d = self.corner[p, i], self.corner[p, i1], self.corner[p, i2], self.corner[q, j]
        # In q it runs from b to a, or, where the faces are not oriented alike, from a to b.
        alike = self.corner[q, j1] == b
        j1, j2 = np.where(alike, j1, j2), np.where(alike, j2, j1)
        bc, ca, ad, db = self.edge[p, i1], self.edge[p, i2], self.edge[q, j1], self.edge[q, j2]
        old = np.stack([3 * p + i1, 3 * p + i2, 3 * q + j1, 3 * q + j2])
        self.length[edges] = self._across(edges, bc, ca, ad, db)
        self.corner[p] = np.stack([b, c, d], axis=1)
        self.edge[p] = np.stack([edges, db, bc], axis=1)
        self.corner[q] = np.stack([a, d, c], axis=1)
        self.edge[q] = np.stack([edges, ca, ad], axis=1)
        around, new = np.stack([bc, ca, ad, db]), np.stack([3 * p + 2, 3 * q + 1, 3 * q + 2, 3 * p + 1])
        slot = (self.sides[around, 1] == old).astype(np.int64)
        glued = self.sides[around, 0] >= 0
        self.sides[around[glued], slot[glued]] = new[glued]
        self.sides[edges] = np.stack([3 * p, 3 * q], axis=1)
        return around

    def _across(self, edges: Ints, bc: Ints, ca: Ints, ad: Ints, db: Ints) -> Doubles:
        """Lengths (n,) from c to d, with the triangles abc and adb laid flat on either side of ab."""
        base = self.length[edges]

        def apex(from_a: Ints, from_b: Ints) -> tuple[Doubles, Doubles]:
            a, b = self.length[from_a], self.length[from_b]
            along = (base * base + (a - b) * (a + b)) / (2 * base)
            return along, np.sqrt(np.maximum((a - along) * (a + along), 0.0))

        (x, y), (u, v) = apex(ca, bc), apex(ad, db)
        return np.hypot(x - u, y + v)


def laplacian_and_mass(vertices: Doubles, faces: Ints) -> tuple[sparse.csr_array, Doubles]:
    """Positive semidefinite Laplacian (S, S) and positive vertex areas (S,) of a possibly non-manifold surface.

    The cotangent Laplacian and a third of the area around each vertex (Pinkall and Polthier, "Computing Discrete
    Minimal Surfaces and Their Conjugates", 1993) of the intrinsic Delaunay triangulation.

    Parameters
    ----------
    vertices : (S, 3) float64
        Positions.
    faces : (T, 3) int64
        Triangles, no repeated corner.
    """
    triangulation = Triangulation.of(vertices, faces)
    triangulation.make_delaunay()
    corner, edge, size = triangulation.corner, triangulation.edge.ravel(), len(vertices)
    cotangent, area = triangulation.cotangents(np.arange(len(edge)))
    weight = np.bincount(edge, cotangent / 2)
    ends = np.empty((2, len(weight)), dtype=np.int32)
    ends[:, edge] = corner[:, _NEXT].ravel(), corner[:, _NEXT[_NEXT]].ravel()
    there_and_back = np.tile(weight, 2), (ends.ravel(), ends[::-1].ravel())
    between = sparse.coo_array(there_and_back, shape=(size, size)).tocsr()
    around = sparse.diags_array(np.bincount(ends.ravel(), there_and_back[0], size))
    mass = np.bincount(corner.ravel(), area / 3, size)
    # A vertex whose triangles have all collapsed weighs nothing; the eigenproblem needs it positive.
    return sparse.csr_array(around - between), np.maximum(mass, 1e-9 * mass.mean())
