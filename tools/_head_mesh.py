"""Half a head as points and faces, and the bookkeeping to mirror it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _head_shape import Array
from numpy.typing import NDArray

Face = tuple[int, ...]
Indices = NDArray[np.int64]


class HalfHead:
    """Vertices and faces of the side x >= 0, part after part."""

    def __init__(self) -> None:
        self.points: list[Array] = []
        self.parts: dict[str, list[Face]] = {}

    def add(self, points: Array) -> list[int]:
        """Append points (N, 3); return their indices."""
        first = len(self.points)
        self.points.extend(points)
        return list(range(first, len(self.points)))

    def mirrored(self) -> tuple[Array, list[tuple[str, list[Face]]]]:
        """Both halves: vertices (V, 3) and the faces of each part; the plane x = 0 is shared."""
        points = np.array(self.points)
        points[np.abs(points[:, 0]) < 1e-9, 0] = 0
        off_plane = np.flatnonzero(points[:, 0])
        twin = np.arange(len(points))
        twin[off_plane] = len(points) + np.arange(off_plane.size)
        vertices = np.concatenate([points, points[off_plane] * [-1, 1, 1]])
        parts: list[tuple[str, list[Face]]] = []
        for name, faces in self.parts.items():
            reflected = [tuple(int(twin[corner]) for corner in reversed(face)) for face in faces]
            if name == "eye":
                parts += [("eye_left", faces), ("eye_right", reflected)]
            else:
                parts.append((name, faces + reflected))
        return vertices, parts


def strip(first: Sequence[int], second: Sequence[int]) -> list[Face]:
    """Quads between two rows of equal length; `second` lies below `first` where they run to the right.

    A corner that both rows share makes a triangle.
    """
    quads = [(first[k], second[k], second[k + 1], first[k + 1]) for k in range(len(first) - 1)]
    return [tuple(dict.fromkeys(quad)) for quad in quads]
