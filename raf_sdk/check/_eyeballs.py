"""Eyeballs, found by shape and place.

Rigging finds them by rules of its own: a check that shared those would be blind to their mistakes.

Axis legend: S surface vertices, n vertices of one eyeball.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PLACE", "SIDES", "Eye", "find_eyes", "round_parts"]

SIDES: Final = {"Left": 1.0, "Right": -1.0}
# The middle of the left eyeball of true rigs, canonical: within 0.1 of this on three families.
PLACE: Final = np.array([0.75, 0.5, -0.25])
REACH: Final = 0.6
FEWEST: Final = 20
RADII: Final = (0.1, 1.2)
# Largest distance from the best sphere, in radii: a cornea bulges by 0.14.
ROUND: Final = 0.2
# Half a ball may be closed behind: at most this share of the vertices is nearer to the middle than that.
WITHIN: Final = 0.1
# Smallest standard deviation along an axis, in radii: 0.29 of a hemisphere; at most 0.18 of lashes, lids and fluids.
SPREAD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Eye:
    """One eyeball, all of its shells.

    Attributes
    ----------
    vertices : (n,) int64
        Surface vertices.
    centre : (3,) float64
        Of the sphere, canonical.
    radius : float
        Of the sphere, canonical.
    """

    vertices: NDArray[np.int64]
    centre: NDArray[np.float64]
    radius: float


def find_eyes(points: NDArray[np.float64], component: NDArray[np.int64]) -> dict[str, Eye]:
    """Find the eyeballs of a head.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    component : (S,) int64
        Connected part of each.

    Returns
    -------
    dict of Eye
        By the character's own side, ``"Left"`` and ``"Right"``; a side without a round part where its eye would be
        is missing.
    """
    balls = round_parts(points, component)
    eyes: dict[str, Eye] = {}
    for side, sign in SIDES.items():
        mine = [ball for ball in balls if np.linalg.norm(ball.centre - PLACE * (sign, 1, 1)) < REACH]
        if mine:
            ball = max(mine, key=lambda ball: ball.radius)
            shells = [
                shell.vertices for shell in mine if np.linalg.norm(shell.centre - ball.centre) < ball.radius
            ]
            eyes[side] = Eye(np.concatenate(shells), ball.centre, ball.radius)
    return eyes


def round_parts(points: NDArray[np.float64], component: NDArray[np.int64]) -> list[Eye]:
    """All parts of the size of an eyeball that lie on a sphere, wherever they are."""
    order = np.argsort(component, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
    return [Eye(part, *sphere) for part in parts if (sphere := _sphere(points[part])) is not None]


def _sphere(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float] | None:
    """Centre and radius of the sphere that points (n, 3) lie on, if they cover enough of one.

    Coope, "Circle fitting by linear and nonlinear least squares" (1993).
    """
    if len(points) < FEWEST:
        return None
    middle = points.mean(axis=0)
    offset = points - middle
    system = np.column_stack([2 * offset, np.ones(len(points))])
    solution = np.linalg.lstsq(system, np.square(offset).sum(axis=1), rcond=None)[0]
    centre = solution[:3]
    radius = float(np.sqrt(max(solution[3] + centre @ centre, 0.0)))
    if not RADII[0] < radius < RADII[1]:
        return None
    off = np.linalg.norm(offset - centre, axis=1) / radius - 1
    if off.max() > ROUND or (off < -ROUND).mean() > WITHIN:
        return None
    spread = np.linalg.eigvalsh(np.cov(offset.T))[0] ** 0.5
    return (centre + middle, radius) if spread > SPREAD * radius else None
