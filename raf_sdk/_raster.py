"""Which triangle each pixel sees: a vectorised z-buffer in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fragments", "rasterize"]

# Pixels tested at once: a dozen numbers each, a few MB that stay in the processor's cache.
_CHUNK_PIXELS = 1 << 16
_DEPTH_STEPS = (1 << 31) - 1
_EMPTY = np.iinfo(np.int64).max
# Pixels on an edge belong to both its triangles; the slack closes the cracks that rounding would open.
_EDGE_SLACK = -1e-7


@dataclass(frozen=True, slots=True)
class Fragments:
    """What the pixels see.

    Attributes
    ----------
    pixels : (N,) int64
        Flat indices, ``row * width + column``, of the covered pixels, increasing.
    faces : (N,) int64
        The nearest triangle at each of them.
    barycentrics : (N, 3) float64
        Its weights there, affine in the picture.
    """

    pixels: NDArray[np.int64]
    faces: NDArray[np.int64]
    barycentrics: NDArray[np.float64]


def rasterize(points: NDArray[np.floating], faces: NDArray[np.integer], width: int, height: int) -> Fragments:
    """Find the nearest triangle of every pixel centre; both sides of a triangle are seen.

    Parameters
    ----------
    points : (V, 3) float
        Column and row in pixels, the origin at the upper left corner of the picture, and depth: smaller is
        nearer.
    faces : (T, 3) int
        Triangles. Those with a corner that is not finite, or without area, are left out.
    width, height : int
        Size of the picture in pixels.

    Returns
    -------
    Fragments
        The covered pixels. Of two triangles at the same depth the one of lower index wins.
    """
    corners = np.asarray(points, dtype=np.float64)[faces.T]  # (3 corners, T, 3)
    x, y, depth = corners[..., 0], corners[..., 1], corners[..., 2]
    with np.errstate(invalid="ignore", over="ignore"):
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        usable = np.isfinite(area) & (area != 0) & np.isfinite(depth).all(axis=0)
        # A pixel's centre is at +0.5: the box holds the columns and rows whose centre can be inside.
        left = np.ceil(np.clip(x.min(axis=0) - 0.5, 0, width))
        right = np.floor(np.clip(x.max(axis=0) - 0.5, -1, width - 1))
        top = np.ceil(np.clip(y.min(axis=0) - 0.5, 0, height))
        bottom = np.floor(np.clip(y.max(axis=0) - 0.5, -1, height - 1))
    kept = np.flatnonzero(usable & (right >= left) & (bottom >= top))
    if kept.size == 0:
        nothing = np.empty(0, dtype=np.int64)
        return Fragments(nothing, nothing, np.empty((0, 3)))

    left, right, top, bottom = (side[kept].astype(np.int64) for side in (left, right, top, bottom))
    columns = right - left + 1
    counts = columns * (bottom - top + 1)
    planes = _barycentric_planes(x[:, kept], y[:, kept], area[kept])
    near = depth[:, kept].min()
    steps = (depth[:, kept] - near) * (_DEPTH_STEPS / (np.ptp(depth[:, kept]) or 1.0))

    # Depth and triangle share one integer, so that a single minimum resolves both.
    buffer = np.full(width * height, _EMPTY, dtype=np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    first = 0
    while first < kept.size:
        done = int(starts[first])
        last = max(first + 1, int(np.searchsorted(ends, done + _CHUNK_PIXELS, side="right")))
        triangle = np.repeat(np.arange(first, last), counts[first:last])
        offset = np.arange(done, done + triangle.size) - starts[triangle]
        row, column = np.divmod(offset, columns[triangle])
        row += top[triangle]
        column += left[triangle]
        first_weight, second_weight, third_weight = _weights(planes, triangle, column, row)
        inside = np.flatnonzero(
            (first_weight >= _EDGE_SLACK) & (second_weight >= _EDGE_SLACK) & (third_weight >= _EDGE_SLACK)
        )
        triangle = triangle[inside]
        level = first_weight[inside] * steps[0][triangle]
        level += second_weight[inside] * steps[1][triangle]
        level += third_weight[inside] * steps[2][triangle]
        key = level.clip(0, _DEPTH_STEPS).astype(np.int64) << 32 | triangle
        np.minimum.at(buffer, row[inside] * width + column[inside], key)
        first = last

    pixels = np.flatnonzero(buffer != _EMPTY)
    winner = buffer[pixels] & 0xFFFFFFFF
    row, column = np.divmod(pixels, width)
    return Fragments(pixels, kept[winner], np.stack(_weights(planes, winner, column, row), axis=1))


def _barycentric_planes(
    x: NDArray[np.float64], y: NDArray[np.float64], area: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Coefficients (2 corners, 3, T) of ``a * x + b * y + c``, the weights of the first two corners."""
    a = np.stack([y[1] - y[2], y[2] - y[0]])
    b = np.stack([x[2] - x[1], x[0] - x[2]])
    c = np.stack([x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2]])
    return np.stack([a, b, c], axis=1) / area


def _weights(
    planes: NDArray[np.float64],
    triangle: NDArray[np.int64],
    column: NDArray[np.int64],
    row: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Barycentric weights, (N,) each, of triangles at the centres of pixels."""
    x, y = column + 0.5, row + 0.5
    first, second = (a[triangle] * x + b[triangle] * y + c[triangle] for a, b, c in planes)
    return first, second, 1 - first - second
