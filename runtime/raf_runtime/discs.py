"""Eyes that are no balls, as cartoons have them: discs or shells with an iris, a pupil and lights on them.

They slide along their plane in the eyeLook shapes, and stay in all others.

Axis legend: S surface vertices, P poses, n vertices of one part or places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.eyes import Eye
from raf_runtime.rigid import Doubles

__all__ = ["Disc", "find_discs", "slide_discs"]

Ints = NDArray[np.int64]

# Corners of a box that the middle of the left one is in, how wide it may be, and how high at least, of its width.
PLACE: Final = np.array([[0.4, -0.4, -1.0], [1.5, 1.0, 0.8]])
WIDTH, HEIGHT = (0.3, 1.6), 0.6
# What stands for the centre of a ball lies by half its size behind it, so that lids around the side of the face are
# before that.
DEPTH: Final = 1.0
# How far aside the middle of what lies on a disc may be, in half its size, and how large that is at most; and both of a
# disc's other side.
ASIDE, SMALLER = np.array([0.6, 0.6, 1.0]), 1.9
SAME, AS_LARGE = 0.05, 2.1
# A disc with something narrower than this share of it on it is the white of an eye, and stays.
IRIS: Final = 0.65
# How far it slides, in half the size of what slides: sideways, up and down.
SLIDE: Final = {"In": 0.35, "Out": 0.35, "Up": 0.25, "Down": 0.25}


@dataclass(frozen=True, slots=True)
class Disc:
    """One eye that is no ball.

    Attributes
    ----------
    eye : Eye
        All of its vertices, and a point behind it.
    iris : (n,) int64
        Those that slide.
    normal : (3,) float64
        Of its plane, canonical, forwards.
    half : float
        Half the size of what slides, canonical.
    """

    eye: Eye
    iris: Ints
    normal: Doubles
    half: float


def find_discs(points: Doubles, parts: Sequence[Ints], eyes: Sequence[Eye]) -> list[Disc]:
    """The largest disc or shell where an eye would be, on each side that has no eyeball, with what lies on it.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    parts : sequence of (n,) int64
        Vertices of each connected part that may be one, by falling area.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    """
    result: list[Disc] = []
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        largest = next((part for part in parts if _may_be_disc(points[part] * (sign, 1.0, 1.0))), None)
        if largest is None or any(eye.side == side for eye in eyes):
            continue
        middle, half = _middle_and_half(points[largest])
        others = [part for part in parts if part is not largest and _lies_on(points[part], middle, half)]
        eye = np.concatenate([largest, *others])
        width = np.ptp(points[largest, 0])
        narrow = [part for part in others if np.ptp(points[part, 0]) < IRIS * width]
        iris = np.concatenate(narrow) if narrow else eye
        _, _, axes = np.linalg.svd(points[eye] - points[eye].mean(axis=0), full_matrices=False)
        normal = axes[2] * (1.0 if axes[2, 2] > 0 else -1.0)
        behind = middle - (0.0, 0.0, DEPTH * half)
        result.append(Disc(Eye(eye, behind, side), iris, normal, _middle_and_half(points[iris])[1]))
    return result


def slide_discs(displacements: NDArray[np.float32], poses: Sequence[str], discs: Sequence[Disc]) -> None:
    """Let irises slide in the looks of their own eye, and stay in all other poses.

    Parameters
    ----------
    displacements : (P, S, 3) float32
        Changed in place.
    poses : sequence of str
        Names of the P poses.
    discs
        From :func:`find_discs`.
    """
    for disc in discs:
        displacements[:, disc.eye.vertices] = 0
        outwards = 1.0 if disc.eye.side == "Left" else -1.0
        for look, way in (
            ("In", (-outwards, 0.0, 0.0)),
            ("Out", (outwards, 0.0, 0.0)),
            ("Up", (0.0, 1.0, 0.0)),
            ("Down", (0.0, -1.0, 0.0)),
        ):
            name = f"eyeLook{look}{disc.eye.side}"
            if name in poses:
                along = np.array(way) - (disc.normal @ way) * disc.normal
                along *= SLIDE[look] * disc.half / max(float(np.linalg.norm(along)), 1e-9)
                displacements[poses.index(name), disc.iris] = along


def _may_be_disc(place: Doubles) -> bool:
    """Whether a part (n, 3) is where the left eye would be, and of its size."""
    low, high = place.min(axis=0), place.max(axis=0)
    middle, (width, height, _) = (low + high) / 2, high - low
    there = (middle > PLACE[0]).all() and (middle < PLACE[1]).all()
    return bool(there and WIDTH[0] < width < WIDTH[1] and HEIGHT * width < height < WIDTH[1])


def _lies_on(place: Doubles, middle: Doubles, half: float) -> bool:
    """Whether a part (n, 3) is on a disc, or its other side: ``middle (3,)`` and half its size."""
    low, high = place.min(axis=0), place.max(axis=0)
    aside, size = np.abs((low + high) / 2 - middle) / half, (high - low).max() / half
    within = size < SMALLER and (aside < ASIDE).all()
    return bool(within or (size < AS_LARGE and (aside < SAME).all()))


def _middle_and_half(place: Doubles) -> tuple[Doubles, float]:
    """Middle (3,) of a box around places (n, 3), and half of its width or height."""
    low, high = place.min(axis=0), place.max(axis=0)
    return (low + high) / 2, float((high - low)[:2].max()) / 2
