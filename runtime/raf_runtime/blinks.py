"""Blinks close: where one leaves a gap between the lids, they go further the way they go already.

Blinks of ICT-FaceKit, for one, do not depend on the person and leave up to a third of the eye open, and so does a
network that has learned from them; lids that meet at other corners than those of its faces do not close there. The eye
is looked at from the front in columns, and what moves with the lid in a blink goes further the lid's way, by as much as
its column needs, smoothly from column to column: lid and lashes, which go far already, stay as smooth as they were.

Axis legend: S surface vertices, T triangles, P poses, E edges, X columns and Y rows of an eye, n vertices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.discs import Disc
from raf_runtime.eyes import Eye
from raf_runtime.lids import Ball, in_front
from raf_runtime.rigid import Doubles

__all__ = ["Lids", "close_blinks", "find_lids"]

Ints = NDArray[np.int64]

# What is nearer to the middle of a ball than AROUND, in its radii, goes all of the way, beyond REACH nothing does.
AROUND, REACH = 1.3, 1.6
COLUMNS, ROWS = 32, 96
# The border of the upper lid goes all of the way, also towards the corners of the eye, where a blink may hardly move
# it; what lies this far above it, in radii, only as far as the blink moves it.
FADE: Final = 0.6
# What lies nearer to the middle of a ball than this share of its surface is the inside of a socket.
BEHIND: Final = 0.8
# Columns that are lower at rest, in radii, are corners of the eye.
OPEN: Final = 0.05
FEWEST: Final = 4
# Of the opening: what may be left, and what a blink leaves that does not only fall short.
LEFT: Final = (0.05, 0.7)
# How far a lid goes beyond the other's border, in radii, and at most, of the largest opening.
OVERLAP, MOST = 0.03, 0.7
ROUNDS: Final = 4
# How far behind the plane of an eye that is no ball, in radii, the white of it lies.
WHITE: Final = 0.1
# Weights of a column and its neighbours.
SMOOTH: Final = np.hanning(21)[1:-1] / np.hanning(21).sum()


@dataclass(frozen=True, slots=True)
class Lids:
    """An eye, the triangles (T, 3) int64 of the skin in front of it, and half its width in radii."""

    eye: Eye
    faces: Ints
    width: float


def find_lids(
    points: Doubles, faces: Ints, skin: Ints, eyes: Sequence[Eye], discs: Sequence[Disc] = ()
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
    discs
        From :func:`raf_runtime.discs.find_discs`: their lids may reach as far beyond them as lids can.
    """
    result: list[Lids] = []
    balls = [(eye, 1.0, _outside_ball(points, eye)) for eye in eyes]
    flat = [(disc.eye, AROUND, _before_disc(points, disc)) for disc in discs]
    for eye, width, outside in [*balls, *flat]:
        radius = _radius(points, eye)
        near = np.zeros(len(points), dtype=bool)
        near[skin[in_front(points[skin] - eye.centre, AROUND * radius)]] = True
        around = faces[near[faces[:, 0]] & near[faces[:, 1]] & near[faces[:, 2]]]
        result.append(Lids(eye, around[outside(points[around].mean(axis=1))], width))
    return result


def _outside_ball(points: Doubles, eye: Eye) -> Callable[[Doubles], NDArray[np.bool_]]:
    """Tells which places (n, 3) are outside of an eyeball, or not far inside: the others are of its socket."""
    ball = Ball(points[eye.vertices] - eye.centre)
    return lambda place: ball.height(place - eye.centre) > BEHIND


def _before_disc(points: Doubles, disc: Disc) -> Callable[[Doubles], NDArray[np.bool_]]:
    """Tells which places (n, 3) are not behind the plane of a disc: the others are the white of the eye."""
    middle, behind = points[disc.eye.vertices].mean(axis=0), -WHITE * _radius(points, disc.eye)
    return lambda place: (place - middle) @ disc.normal > behind


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
            # All that moves, and all triangles between it, numbered anew.
            place = np.zeros(len(points), dtype=np.int64)
            place[near] = np.arange(len(near))
            blink[near] = _closed(
                rest[near], blink[near].astype(np.float64), place[each.faces], radius, each.width
            )


def _closed(rest: Doubles, blink: Doubles, faces: Ints, radius: float, width: float) -> Doubles:
    """The blink (n, 3) of one eye, closed: ``rest (n, 3)`` about its middle, ``faces (T, 3)`` among these."""
    columns = np.linspace(-width * radius, width * radius, COLUMNS)
    opening, top = _openings(rest, faces, columns)
    wide = _run(opening > OPEN * radius, int(opening.argmax()))
    if wide.sum() < FEWEST:
        return blink
    left = _openings(rest + blink, faces, columns)[0][wide].sum() / opening[wide].sum()
    if not LEFT[0] < left < LEFT[1]:
        return blink
    drop = (-blink[:, 1] / -blink[faces, 1].min()).clip(0, 1)
    way = drop @ blink
    way /= -way[1]
    near = _nearness(rest, opening[wide], top[wide], columns[wide], radius)
    # Lashes go no further than the skin that they are on.
    skin = np.unique(faces)
    _, on = KDTree(rest[skin]).query(rest)
    share = np.maximum(drop, np.minimum(near, near[skin][on]) * blink.any(axis=1))
    share *= ((REACH - np.linalg.norm(rest, axis=1) / radius) / (REACH - AROUND)).clip(0, 1)
    moved, lower_by = blink, np.zeros(COLUMNS)
    for _ in range(ROUNDS):
        gaps, _ = _openings(rest + moved, faces, columns)
        more = np.where(wide & (gaps > 0), gaps + OVERLAP * radius, 0)
        lower_by = np.minimum(lower_by + _spread(more), MOST * opening.max())
        further = share * np.interp(rest[:, 0] + blink[:, 0], columns, lower_by)
        moved = blink + further[:, None] * way
    return moved


def _nearness(rest: Doubles, opening: Doubles, top: Doubles, columns: Doubles, radius: float) -> Doubles:
    """How near (n,) each vertex is to the border of the upper lid: 1 on it, 0 on the lower lid and far above."""
    x, y, _ = rest.T
    above = y - np.interp(x, columns, top)
    far = np.where(above > 0, FADE * radius, np.interp(x, columns, opening) / 2)
    return np.square((1 - np.square(above / far)).clip(0)) * ((x > columns[0]) & (x < columns[-1]))


def _spread(values: Doubles) -> Doubles:
    """The largest of each value (X,) and its neighbours, smoothed."""
    wide = np.pad(values, 1)
    largest = np.maximum(values, np.maximum(wide[2:], wide[:-2]))
    return np.convolve(np.pad(largest, len(SMOOTH) // 2, mode="edge"), SMOOTH, "valid")


def _run(those: NDArray[np.bool_], start: int) -> NDArray[np.bool_]:
    """Those columns (X,) that follow each other from one to both sides."""
    before, after = those[: start + 1][::-1], those[start:]
    return np.concatenate([np.logical_and.accumulate(before)[::-1], np.logical_and.accumulate(after)[1:]])


def _openings(place: Doubles, faces: Ints, columns: Doubles) -> tuple[Doubles, Doubles]:
    """Height (X,) of the highest part of each column that no triangle covers, but some above and below it; its top."""
    edges, rows = _edges(faces), np.linspace(columns[0], columns[-1], ROWS)
    edge, column, along = _crossings(place, edges, columns)
    y = place[edges[edge], 1]
    height = y[:, 0] + along * (y[:, 1] - y[:, 0])
    # A column that crosses a triangle crosses two of its edges, and is covered in between.
    strip = edge % len(faces) * len(columns) + column
    low, high = np.full((2, len(faces) * len(columns)), [[np.inf], [-np.inf]])
    np.minimum.at(low, strip, height)
    np.maximum.at(high, strip, height)
    crossed = np.flatnonzero(low < high)
    step = rows[1] - rows[0]
    first = np.ceil((low[crossed] - rows[0]) / step).clip(0, ROWS).astype(np.int64)
    beyond = (np.floor((high[crossed] - rows[0]) / step) + 1).clip(0, ROWS).astype(np.int64)
    change = np.zeros((ROWS + 1, len(columns)), dtype=np.int64)
    np.add.at(change, (first, crossed % len(columns)), 1)
    np.add.at(change, (beyond, crossed % len(columns)), -1)
    covered = np.cumsum(change, axis=0)[:-1] > 0
    row = np.arange(ROWS)[:, None]
    # What lies between a covered place and the next one under it.
    under = np.maximum.accumulate(np.where(covered, row, -1))[:-1]
    height = np.where(covered[1:] & (under >= 0), row[:-1] - under, 0)
    top = height.argmax(axis=0)
    return height.max(axis=0) * step, rows[top]


def _edges(faces: Ints) -> Ints:
    """The edges (3 T, 2) of triangles (T, 3): first all their first ones."""
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def _crossings(place: Doubles, edges: Ints, columns: Doubles) -> tuple[Ints, Ints, Doubles]:
    """Edge and column of each crossing, and where along the edge it is: one entry for each, most edges have none."""
    x = place[edges, 0]
    step = columns[1] - columns[0]
    low, high = np.sort(x, axis=1).T
    first, last = np.ceil((low - columns[0]) / step), np.floor((high - columns[0]) / step)
    first, last = first.clip(0).astype(np.int64), last.clip(max=len(columns) - 1).astype(np.int64)
    count = (last - first + 1).clip(0)
    edge = np.repeat(np.arange(len(edges)), count)
    column = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    width = np.where(np.abs(x[:, 1] - x[:, 0]) < 1e-9, 1e-9, x[:, 1] - x[:, 0])[edge]
    return edge, column, (columns[column] - x[edge, 0]) / width


def _radius(points: Doubles, eye: Eye) -> float:
    return float(np.linalg.norm(points[eye.vertices] - eye.centre, axis=1).max())
