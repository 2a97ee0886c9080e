"""Where a head ends, and how what hangs on it follows.

The network sees the head down to a plane across the neck, wherever a mesh ends below: shoulders, collars and bodies
change nothing. What is cut off follows the edge of the cut, the less the further it is from there.

Axis legend: S surface vertices, T triangles, C vertices of the head, N the others, P poses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.surface import Surface, face_areas

__all__ = ["Neck", "above_neck", "body", "cut"]

# Canonical: heads reach from the crown down to here along UP, which is below any chin and the nape. ICT's mean chin is
# at -2.2.
UP: Final = np.array([0.0, 1.0, 0.5])
LOWEST: Final = -3.1
# What is cut off stays from this far from the edge on, 3 cm on an adult: rigs move little there, and not far.
REACH: Final = 0.7
# What lies further than BODY_REACH from MIDDLE, canonical, is body, where it is more than this share of the surface.
# Busts have up to 0.12 there.
MIDDLE: Final = (0.0, 0.0, -1.0)
BODY_REACH: Final = 5.5
BODY: Final = 0.2


@dataclass(frozen=True, slots=True)
class Neck:
    """How the rest of a surface moves with its head.

    Attributes
    ----------
    leader : (S,) int64
        The vertex of the head that each vertex is, or follows: the nearest at the edge of its own component.
    rest : (N,) int64
        Vertices that are not of the head.
    share : (N,) float32
        How much of its leader's motion each has, from 1 at the edge to 0.
    """

    leader: NDArray[np.int64]
    rest: NDArray[np.int64]
    share: NDArray[np.float32]

    def follow(self, displacements: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry displacements (P, C, 3) of the head to the whole surface (P, S, 3), which is a new array."""
        result = displacements.take(self.leader, axis=1)
        result[:, self.rest] *= self.share[:, None]
        return result


def cut(surface: Surface, points: NDArray[np.float64]) -> tuple[Surface, Neck]:
    """Find the part of a surface that is head, and how the rest moves with it.

    Parameters
    ----------
    surface : Surface
        A head with what hangs on it.
    points : (S, 3) float64
        Its vertices in canonical coordinates.

    Returns
    -------
    Surface, Neck
        The head alone, with the C vertices in the order in which the surface has them; the surface as it is, where
        none of it is above the neck.
    """
    head = np.asarray(above_neck(points)[surface.faces].all(axis=1))
    if not face_areas(points, surface.faces[head]).sum() > 0:
        head[:] = True
    if head.all():
        every = np.arange(len(points))
        return surface, Neck(every, every[:0], np.empty(0, dtype=np.float32))
    return surface.part(head), _followers(surface, points, head)


def _followers(surface: Surface, points: NDArray[np.float64], head: NDArray[np.bool_]) -> Neck:
    """What follows the edge of the triangles (mask (T,)) that are head."""
    kept, rim = np.zeros((2, len(points)), dtype=bool)
    kept[surface.faces[head]] = True
    rim[surface.faces[~head]] = True
    edge, rest = np.flatnonzero(kept & rim), np.flatnonzero(~kept)
    place = np.cumsum(kept) - 1
    leader, share = np.where(kept, place, 0), np.zeros(len(rest), dtype=np.float32)
    if len(edge):
        # Components lie apart along a fourth axis: none follows another.
        apart = np.column_stack([points, 2 * REACH * surface.component])
        found = KDTree(apart[edge]).query(apart[rest], distance_upper_bound=REACH)
        distance, nearest = (np.asarray(each) for each in found)
        near = np.flatnonzero(distance < REACH)
        leader[rest[near]] = place[edge.take(nearest[near])]
        share[near] = (1 - (distance[near] / REACH) ** 2) ** 2
    return Neck(leader, rest, share)


def above_neck(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of canonical points (..., 3) are above the plane across the neck."""
    return points @ UP > LOWEST


def body(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Mask of points (S, 3) that are body, by their distance from the face; None where that is little, or all."""
    far = np.linalg.norm(points - MIDDLE, axis=1) >= BODY_REACH
    if not far.any():
        return None
    areas = face_areas(points, faces)
    share = areas[far[faces].any(axis=1)].sum() / areas.sum()
    return far if BODY < share < 1 else None
