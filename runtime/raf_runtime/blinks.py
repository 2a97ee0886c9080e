"""Blinks close: where one leaves a gap between the lids, they go further the way they go already.

Blinks of ICT-FaceKit, for one, do not depend on the person and leave up to a third of the eye open, and so does a
network that has learned from them. The eye is looked at from the front in columns, and what moves with the lid in a
blink goes further the lid's way, by as much as its column needs, smoothly from column to column: lid and lashes, which
go far already, stay as smooth as they were.

Axis legend: S surface vertices, P poses, E edges, X columns of an eye, n vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.eyes import Eye
from raf_runtime.lids import in_front
from raf_runtime.rigid import Doubles

__all__ = ["Lids", "close_blinks", "find_lids", "flat_eyes"]

Ints = NDArray[np.int64]

# What is nearer to the middle of a ball than AROUND, in its radii, goes all of the way, beyond REACH nothing does.
AROUND, REACH = 1.3, 1.6
COLUMNS: Final = 32
# The upper lid is what goes down by more than this share of what goes down most.
WITH_LID: Final = 0.3
# What lies this far behind the upper lid's border, in radii, is the inside of the head: 0.4 to 0.8 of sockets behind
# the eyes of avatars, 0.34 to 0.36 along the lower lids of one of MakeHuman's faces, less on others.
BEHIND: Final = 0.38
# Columns that are lower at rest, in radii, are corners of the eye.
OPEN: Final = 0.05
FEWEST: Final = 4
# Of the opening: what may be left, and what a blink leaves that does not only fall short.
LEFT: Final = (0.05, 0.7)
# How far a lid goes beyond the other's border, in radii, and at most, of the largest opening.
OVERLAP, MOST = 0.03, 0.7
ROUNDS: Final = 4
# Eyes that are no balls, as cartoons have them: corners of a box that the middle of the left one is in, how wide it may
# be and how high at least, of its width, and by how much of its radius what stands for its centre lies behind.
FLAT_PLACE: Final = np.array([[0.4, -0.4, -1.0], [1.5, 1.0, 0.8]])
FLAT_WIDTH, FLAT_HEIGHT, FLAT_DEPTH = (0.3, 1.6), 0.6, 0.5
# Weights of a column and its neighbours.
SMOOTH: Final = np.hanning(21)[1:-1] / np.hanning(21).sum()


@dataclass(frozen=True, slots=True)
class Lids:
    """An eye, the edges (E, 2) int64 of the skin in front of it, and half its width in radii."""

    eye: Eye
    edges: Ints
    width: float


def find_lids(
    points: Doubles, faces: Ints, skin: Ints, eyes: Sequence[Eye], flat: Sequence[Eye] = ()
) -> list[Lids]:
    """Find the skin around eyes.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    faces : (T, 3) int64
        Triangles.
    skin : (n,) int64
        Vertices of the face.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    flat
        From :func:`flat_eyes`: their lids may reach as far beyond them as lids can.
    """
    result: list[Lids] = []
    for eye, width in [*((eye, 1.0) for eye in eyes), *((eye, AROUND) for eye in flat)]:
        near = np.zeros(len(points), dtype=bool)
        near[skin[in_front(points[skin] - eye.centre, AROUND * _radius(points, eye))]] = True
        around = faces[near[faces[:, 0]] & near[faces[:, 1]] & near[faces[:, 2]]]
        start, end = around.ravel(), np.roll(around, -1, axis=1).ravel()
        once = np.unique(np.minimum(start, end) * len(points) + np.maximum(start, end))
        edges = np.stack(np.divmod(once, len(points)), axis=1)
        result.append(Lids(eye, edges, width))
    return result


def flat_eyes(points: Doubles, parts: Sequence[Ints], eyes: Sequence[Eye]) -> list[Eye]:
    """The largest disc or shell where an eye would be, on each side that has no eyeball: what its lids close over.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    parts : sequence of (n,) int64
        Vertices of each connected part that may be one, by falling area.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    """
    result: list[Eye] = []
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        if any(eye.side == side for eye in eyes):
            continue
        for part in parts:
            low, high = points[part].min(axis=0), points[part].max(axis=0)
            middle, size = (low + high) / 2, high - low
            place = middle * (sign, 1.0, 1.0)
            if (
                (place > FLAT_PLACE[0]).all()
                and (place < FLAT_PLACE[1]).all()
                and FLAT_WIDTH[0] < size[0] < FLAT_WIDTH[1]
                and FLAT_HEIGHT * size[0] < size[1] < FLAT_WIDTH[1]
            ):
                behind = FLAT_DEPTH * max(size[0], size[1]) / 2
                result.append(Eye(part, middle - (0.0, 0.0, behind), side))
                break
    return result


def close_blinks(
    points: Doubles, displacements: NDArray[np.float32], poses: Sequence[str], lids: Sequence[Lids]
) -> None:
    """Close what blinks leave open.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    displacements : (P, S, 3) float32
        Changed in place, in the blink of each eye. Lashes, which are parts of their own, follow.
    poses : sequence of str
        Names of the P poses.
    lids
        From :func:`find_lids`.
    """
    for each in lids:
        name = f"eyeBlink{each.eye.side}"
        if name in poses:
            radius = _radius(points, each.eye)
            rest = points - each.eye.centre
            near = in_front(rest, REACH * radius)
            blink = displacements[poses.index(name)]
            # All that moves, and all edges between it, numbered anew.
            place = np.zeros(len(points), dtype=np.int64)
            place[near] = np.arange(len(near))
            blink[near] = _closed(
                rest[near], blink[near].astype(np.float64), place[each.edges], radius, each.width
            )


def _closed(rest: Doubles, blink: Doubles, edges: Ints, radius: float, width: float) -> Doubles:
    """The blink (n, 3) of one eye, closed: ``rest (n, 3)`` about its middle, ``edges (E, 2)`` among these."""
    columns = np.linspace(-width * radius, width * radius, COLUMNS)
    upper, lower = _sides(rest, blink, edges, columns, BEHIND * radius)
    opening = _gaps(rest, upper, lower, columns)
    wide = opening > OPEN * radius
    if wide.sum() < FEWEST:
        return blink
    left = _gaps(rest + blink, upper, lower, columns)[wide].clip(min=0).sum() / opening[wide].sum()
    if not LEFT[0] < left < LEFT[1]:
        return blink
    drop = (-blink[:, 1] / -blink[edges, 1].min()).clip(0, 1)
    share = drop * ((REACH - np.linalg.norm(rest, axis=1) / radius) / (REACH - AROUND)).clip(0, 1)
    way = blink[np.unique(upper)].mean(axis=0)
    way /= -way[1]
    moved, lower_by = blink, np.zeros(COLUMNS)
    for _ in range(ROUNDS):
        gaps = _gaps(rest + moved, upper, lower, columns)
        more = np.where(wide, (gaps + OVERLAP * radius).clip(min=0), 0)
        lower_by = np.minimum(lower_by + _spread(more), MOST * opening.max())
        further = share * np.interp(rest[:, 0] + blink[:, 0], columns, lower_by)
        moved = blink + further[:, None] * way
    return moved


def _spread(values: Doubles) -> Doubles:
    """The largest of each value (X,) and its neighbours, smoothed."""
    wide = np.pad(values, 1)
    largest = np.maximum(values, np.maximum(wide[2:], wide[:-2]))
    return np.convolve(np.pad(largest, len(SMOOTH) // 2, mode="edge"), SMOOTH, "valid")


def _sides(rest: Doubles, blink: Doubles, edges: Ints, columns: Doubles, behind: float) -> tuple[Ints, Ints]:
    """Edges (E, 2) of the upper lid, which goes down, and those of what lies under it and not so far ``behind``."""
    drop = -blink[:, 1]
    down = drop > WITH_LID * drop[edges].max(initial=0)
    upper, others = edges[down[edges].all(axis=1)], edges[~down[edges].any(axis=1)]
    # Where there is no upper lid, nothing lies under it.
    border, depth = _border(rest, upper, columns, -1)
    border[np.isinf(border)] = 2 * columns[0]
    middle = rest[others].mean(axis=1)
    under = middle[:, 1] < np.interp(middle[:, 0], columns, border)
    return upper, others[under & (middle[:, 2] > np.interp(middle[:, 0], columns, depth) - behind)]


def _gaps(place: Doubles, upper: Ints, lower: Ints, columns: Doubles) -> Doubles:
    """Height (X,) of the opening in each column; where a lid is missing there is none."""
    gaps = _border(place, upper, columns, -1)[0] - _border(place, lower, columns, 1)[0]
    return np.where(np.isfinite(gaps), gaps, columns[0])


def _border(place: Doubles, edges: Ints, columns: Doubles, sign: int) -> tuple[Doubles, Doubles]:
    """Height and depth (X,) of the highest (``sign`` 1) or lowest (-1) place at which edges cross each column."""
    x, y, z = (place[edges, axis] for axis in range(3))
    step = columns[1] - columns[0]
    low, high = np.sort(x, axis=1).T
    first, last = np.ceil((low - columns[0]) / step), np.floor((high - columns[0]) / step)
    first, last = first.clip(0).astype(np.int64), last.clip(max=len(columns) - 1).astype(np.int64)
    # One entry for each crossing, most edges have none.
    count = (last - first + 1).clip(0)
    edge = np.repeat(np.arange(len(edges)), count)
    column = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    width = np.where(np.abs(x[:, 1] - x[:, 0]) < 1e-9, 1e-9, x[:, 1] - x[:, 0])[edge]
    along = (columns[column] - x[edge, 0]) / width
    height = sign * (y[edge, 0] + along * (y[edge, 1] - y[edge, 0]))
    border, depth = np.full(len(columns), -np.inf), np.zeros(len(columns))
    np.maximum.at(border, column, height)
    reached = height == border[column]
    depth[column[reached]] = (z[edge, 0] + along * (z[edge, 1] - z[edge, 0]))[reached]
    return sign * border, depth


def _radius(points: Doubles, eye: Eye) -> float:
    return float(np.linalg.norm(points[eye.vertices] - eye.centre, axis=1).max())
