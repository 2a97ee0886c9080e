"""Which parts of a canonical head are the face's own.

Axis legend: S surface vertices, T triangles.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.surface import all_corners, face_areas, in_box

__all__ = ["around_the_face", "outside_the_face", "own_parts", "skin_of"]

Doubles = NDArray[np.float64]

# Corners of a box around the features of the face, canonical: the part with most area in it is the skin, however
# large a helmet is.
FEATURES: Final = np.array([[-1.3, -1.7, -0.6], [1.3, 1.2, 1.0]])
# Corners of a box around the face, canonical. A part that lies within it (lashes, brows, a moustache, fluid on the
# eye) is the face's own; hats, hair and glasses hold on to what lies above, behind or beside it.
FACE: Final = np.array([[-1.5, -2.0, -1.0], [1.5, 1.3, 1.2]])
# As far back as this a mouth may reach.
THROAT: Final = -2.2
# A quarter of a beard is in the face and lower than this, however long it is: it goes with the chin.
BEARD: Final = -0.7


def skin_of(points: Doubles, faces: NDArray[np.int64], component: NDArray[np.int64]) -> int:
    """The part that is the face: that with most area among the features; the largest one if there is none.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    faces : (T, 3) int64
        Triangles.
    component : (S,) int64
        Connected component of every vertex, numbered by falling area.
    """
    inside = np.ones(len(faces), dtype=bool)
    for along, low, high in zip(points.T, *(3 * FEATURES), strict=True):
        a, b, c = along.take(faces.T)
        tripled = a + b + c
        inside &= (tripled > low) & (tripled < high)
    if not inside.any():
        return 0
    faces = faces[inside]
    return int(np.bincount(component[faces[:, 0]], weights=face_areas(points, faces)).argmax())


def own_parts(points: Doubles, faces: NDArray[np.int64], component: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each component, (C,), is the skin or lies within the face; arguments as of :func:`skin_of`."""
    own = np.bincount(component, weights=outside_the_face(points)) == 0
    own[skin_of(points, faces, component)] = True
    return own


def outside_the_face(points: Doubles) -> NDArray[np.bool_]:
    """Which of the canonical points (S, 3) lie outside the box around the face."""
    return ~in_box(points, FACE)


def around_the_face(
    points: Doubles, faces: NDArray[np.int64], component: NDArray[np.int64], areas: Doubles
) -> NDArray[np.bool_]:
    """Whether each component, (C,), lies around the face rather than in it; arguments as of :func:`skin_of`.

    Areas (T,) are of the triangles.
    """
    box = FACE.copy()
    box[0, 2] = THROAT
    within = in_box(points, box)
    outside = ~all_corners(within, faces)
    chin = all_corners(within & (points[:, 1] < BEARD), faces)
    part = component[faces[:, 0]]
    total, beyond, hanging = (np.bincount(part, areas * which) for which in (1, outside, chin))
    around = (beyond > total / 2) & (hanging < total / 4)
    around[skin_of(points, faces, component)] = False
    return around
