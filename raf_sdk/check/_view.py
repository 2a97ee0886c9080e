"""The face from straight ahead, in parallel projection: what each pixel sees, and of which material it is.

Axis legend: S vertices, T triangles, N covered pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import maximum_filter

from raf_sdk._raster import rasterize

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FACE", "Seen", "View", "material", "newly_seen", "poking_through"]

# Material that lies this little behind what a pixel saw is what it saw: slopes and rounding.
SAME_DEPTH: Final = 0.03
# Something cuts through a skin that lies this little behind it, canonical; what is deeper is another thing.
SKIN_DEPTH: Final = 0.12


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pixels of a view see.

    Attributes
    ----------
    pixels : (N,) int64
        Flat indices of the covered pixels.
    faces : (N,) int64
        The nearest triangle at each.
    weights : (N, 3) float64
        Barycentric place on it.
    depth : (N,) float64
        Its distance from the plane Z = 0, positive away from the viewer.
    """

    pixels: NDArray[np.int64]
    faces: NDArray[np.int64]
    weights: NDArray[np.float64]
    depth: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """A rectangle of the canonical XY plane, seen along -Z.

    Attributes
    ----------
    left, bottom, right, top : float
        Its sides, canonical.
    density : int
        Pixels along one unit.
    """

    left: float
    bottom: float
    right: float
    top: float
    density: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return (
            max(1, round((self.top - self.bottom) * self.density)),
            max(1, round((self.right - self.left) * self.density)),
        )

    def area(self, pixels: int) -> float:
        """Area of some pixels, square units."""
        return pixels / self.density**2

    def look(self, points: NDArray[np.float64], faces: NDArray[np.int64]) -> Seen:
        """See triangles (T, 3) of points (S, 3), canonical."""
        height, width = self.shape
        flat = self.project(points)
        seen = rasterize(flat, faces, width, height)
        depth = np.einsum("nk,nk->n", seen.barycentrics, flat[faces[seen.faces], 2])
        return Seen(seen.pixels, seen.faces, seen.barycentrics, depth)

    def near(self, points: NDArray[np.float64], margin: float) -> NDArray[np.bool_]:
        """Mask (S,) of the points in the rectangle and a margin around it."""
        low = np.array([self.left - margin, self.bottom - margin])
        high = np.array([self.right + margin, self.top + margin])
        inside = (points[:, :2] > low) & (points[:, :2] < high)
        return inside[:, 0] & inside[:, 1]

    def depths(self, seen: Seen) -> NDArray[np.float64]:
        """Depth picture (rows, columns); infinite where nothing is."""
        picture = np.full(self.shape, np.inf)
        picture.reshape(-1)[seen.pixels] = seen.depth
        return picture

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Column, row and depth (S, 3) of points (S, 3)."""
        x = (points[:, 0] - self.left) * self.density
        y = (self.top - points[:, 1]) * self.density
        return np.stack([x, y, -points[:, 2]], axis=1)


# The face, from below the chin to the hairline.
FACE: Final = View(-1.6, -2.6, 1.6, 2.0, 48)


def material(seen: Seen, points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where the material (N, 3) that pixels see lies when the vertices are at ``points``."""
    return np.einsum("nk,nkc->nc", seen.weights, points[faces[seen.faces]])


def newly_seen(
    view: View, neutral: NDArray[np.float64], posed: NDArray[np.float64], faces: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Pixels that see, in a pose, what was hidden in the neutral: the inside of an opened mouth.

    Through the mouth of a mask, which has no inside, one sees nothing where skin was.

    Parameters
    ----------
    view
        Where to look.
    neutral, posed : (S, 3) float64
        Vertices, canonical.
    faces : (T, 3) int64
        Triangles.

    Returns
    -------
    (n,) int64
        Flat pixel indices.
    """
    before = maximum_filter(view.depths(view.look(neutral, faces)), 3)
    seen = view.look(posed, faces)
    empty = np.isfinite(before).reshape(-1)
    empty[seen.pixels] = False
    place = view.project(material(seen, neutral, faces))
    column, row = np.floor(place[:, 0]).astype(np.int64), np.floor(place[:, 1]).astype(np.int64)
    height, width = view.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    hidden = np.zeros(len(place), bool)
    hidden[inside] = place[inside, 2] > before[row[inside], column[inside]] + SAME_DEPTH
    return np.concatenate([seen.pixels[hidden], np.flatnonzero(empty)])


def poking_through(
    view: View,
    points: NDArray[np.float64],
    inner: NDArray[np.int64],
    outer: NDArray[np.int64],
    shown: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Pixels where something that belongs behind the skin lies just in front of it: teeth through lips.

    Parameters
    ----------
    view
        Where to look.
    points : (S, 3) float64
        Posed vertices, canonical.
    inner, outer : (T, 3) int64
        Triangles of what belongs inside, and of the skin.
    shown : (T,) bool
        Which triangles of ``outer`` are the outside of the skin.

    Returns
    -------
    (n,) int64
        Flat pixel indices.
    """
    skin = view.look(points, outer)
    above = view.depths(view.look(points, inner)).reshape(-1)[skin.pixels]
    through = (above < skin.depth) & (skin.depth - above < SKIN_DEPTH) & shown[skin.faces]
    return skin.pixels[through]
