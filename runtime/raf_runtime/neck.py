"""Where a head ends, and how what hangs on it follows.

The network sees the head down to a plane across the neck, wherever a mesh ends below: shoulders, collars and bodies
change nothing. What is cut off follows the edge of the cut, the less the further it is from there.

Axis legend: V input vertices, S surface vertices, T triangles, N vertices that follow.
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
    """What follows the edge of the cut.

    Attributes
    ----------
    below : (N,) int64
        Input vertices that follow.
    edge : (N,) int64
        The input vertex at the edge that each follows: the nearest of its component.
    share : (N,) float32
        Of its motion, from 1 at the edge to 0.
    """

    below: NDArray[np.int64]
    edge: NDArray[np.int64]
    share: NDArray[np.float32]

    def follow(self, displacements: NDArray[np.float32]) -> None:
        """Move what follows in displacements (P, V, 3), in place."""
        displacements[:, self.below] = displacements[:, self.edge] * self.share[:, None]


def cut(surface: Surface, points: NDArray[np.float64]) -> tuple[Surface, Neck]:
    """Find the part of a surface that is head, and what follows it.

    Parameters
    ----------
    surface : Surface
        A head, alone or on a body.
    points : (S, 3) float64
        Its vertices in canonical coordinates.
    """
    above = above_neck(points)
    if (far := body(points, surface.faces)) is not None:
        above &= ~far
    head = np.asarray(above[surface.faces].all(axis=1))
    if head.all() or not face_areas(points, surface.faces[head]).sum() > 0:
        return surface, Neck(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    return surface.part(head), _followers(surface, points, head)


def _followers(surface: Surface, points: NDArray[np.float64], head: NDArray[np.bool_]) -> Neck:
    """What follows the edge of the triangles (mask (T,)) that are head."""
    kept, rim = np.zeros((2, len(points)), dtype=bool)
    kept[surface.faces[head]] = True
    rim[surface.faces[~head]] = True
    edge, rest = np.flatnonzero(kept & rim), np.flatnonzero(~kept)
    leader, share = np.full(len(points), -1), np.zeros(len(points), dtype=np.float32)
    if len(edge):
        # Components lie apart along a fourth axis: none follows another.
        places = np.column_stack([points, 2 * REACH * surface.component])
        found = KDTree(places[edge]).query(places[rest], distance_upper_bound=REACH)
        distance, nearest = (np.asarray(each) for each in found)
        near = np.flatnonzero(distance < REACH)
        leader[rest[near]] = edge.take(nearest[near])
        share[rest[near]] = (1 - (distance[near] / REACH) ** 2) ** 2
    used = np.flatnonzero(surface.from_input >= 0)
    place = surface.from_input[used]
    # Any of the input vertices that were welded.
    to_input = np.zeros(len(points), dtype=np.int64)
    to_input[place] = used
    follows = leader[place] >= 0
    return Neck(used[follows], to_input[leader[place[follows]]], share[place[follows]])


def above_neck(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of canonical points (..., 3) are above the plane across the neck."""
    return points @ UP > LOWEST


def body(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Mask (S,) of what is body by its distance from the face, of points (S, 3); None where that is little."""
    far = np.linalg.norm(points - MIDDLE, axis=1) >= BODY_REACH
    if not far.any():
        return None
    areas = face_areas(points, faces)
    return far if areas[far[faces].any(axis=1)].sum() > BODY * areas.sum() else None
