"""Parts that stay: hats, hair, glasses, clothes, bodies.

Axis legend: S surface vertices, P poses, N loose vertices, C parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.face import outside_the_face
from raf_runtime.rigid import Doubles

__all__ = ["Loose"]

# A vertex is still that never moves further than this, or whose nearest skin does not: 2 mm on an adult.
STILL: Final = 0.05
# A part stays if this share of its vertices is still, for it cannot stretch. Beards lie on skin that moves.
MOST: Final = 0.5
# A part within the face stays as well if this share of it is nearer to what stays than to the skin: a lens hangs in
# its frame (0.5 of a pair of lenses among Rocketbox heads, 0.05 and less of lashes under glasses and fringes).
HANGING: Final = 0.25


@dataclass(frozen=True, slots=True)
class Loose:
    """Parts that may stay, of a head on which at least one reaches out of the face.

    Attributes
    ----------
    points : (N, 3) float64
        Canonical positions of their vertices.
    vertices : (N,) int64
        Which of the surface's these are.
    part : (N,) int64
        The part of each, 0 to C - 1.
    beneath : (N,) int64
        The surface's vertex of the skin nearest to each.
    gap : (N,) float64
        How far that is, canonical.
    within : (C,) bool
        Whether the part lies within the face.
    """

    points: Doubles
    vertices: NDArray[np.int64]
    part: NDArray[np.int64]
    beneath: NDArray[np.int64]
    gap: Doubles
    within: NDArray[np.bool_]

    @classmethod
    def find(
        cls, points: Doubles, component: NDArray[np.int64], skin: int, settled: NDArray[np.bool_]
    ) -> Loose:
        """Collect the parts that may stay.

        Parameters
        ----------
        points : (S, 3) float64
            Canonical positions.
        component : (S,) int64
            Part of every vertex.
        skin : int
            The component that is the face.
        settled : (S,) bool
            Whether another rule moves the vertex.
        """
        within = np.bincount(component, weights=outside_the_face(points)) == 0
        loose = ~settled & (component != skin)
        if within[component[loose]].all():
            loose[:] = False
        vertices = np.flatnonzero(loose)
        numbers, part = np.unique(component[vertices], return_inverse=True)
        face = np.flatnonzero(component == skin)
        gap, nearest = np.zeros(0), np.zeros(0, dtype=np.int64)
        if len(vertices):
            gap, nearest = KDTree(points[face]).query(points[vertices])
        return cls(points[vertices], vertices, part.astype(np.int64), face[nearest], gap, within[numbers])

    def keep_still(self, displacements: NDArray[np.float32]) -> None:
        """Set the displacements (P, S, 3) of the parts that stay to zero, in place."""
        if len(self.vertices) == 0:
            return
        own, skin = (_furthest(displacements, vertices) for vertices in (self.vertices, self.beneath))
        stays = ~self.within & (self._share(np.minimum(own, skin) < STILL) > MOST)
        if not stays.any():
            return
        nearer = KDTree(self.points[stays[self.part]]).query(self.points)[0] < self.gap
        stays |= self.within & (self._share(nearer) > HANGING)
        displacements[:, self.vertices[stays[self.part]]] = 0

    def _share(self, vertices: NDArray[np.bool_]) -> Doubles:
        """Of how many of each part's vertices it holds: (N,) to (C,)."""
        return np.bincount(self.part, weights=vertices) / np.bincount(self.part)


def _furthest(displacements: NDArray[np.float32], vertices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Largest displacement (n,) of each of some vertices over all poses."""
    return np.sqrt(np.max([np.square(pose[vertices]).sum(axis=1) for pose in displacements], axis=0))
