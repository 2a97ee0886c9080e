"""Lids slide over eyeballs: what lies outside a ball at rest stays outside in a blink.

A lid closes along a straight line, and a ball is round: by a small error of where the lid arrives, the ball comes
through it, and a closed eye looks half open. What is around such a place is lifted with it, the less the further it is,
so that the lid stays smooth and lashes stay on it.

Axis legend: S surface vertices, P poses, n vertices of one part or places, L vertices around a ball.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree, distance

from raf_runtime.eyes import Eye
from raf_runtime.rigid import Doubles

__all__ = ["in_front", "keep_outside"]

# How far from the middle of a ball its lids are at most, in its radii.
AROUND: Final = 1.6
# Vertices of an eyeball nearer to its middle than this share of the farthest one's distance are not its surface.
OUTER: Final = 0.8
# How far from a ball its lids keep, in its radii: as far as at rest, but no less and no more than this. Their triangles
# would cut into it between their vertices.
CLEAR: Final = (0.03, 0.06)
# How far a lift spreads, and how close places that are too low are taken together, in radii.
SPREAD, CELL = 0.1, 0.05


def keep_outside(
    points: Doubles,
    displacements: NDArray[np.float32],
    poses: Sequence[str],
    eyes: Sequence[Eye],
    skin: NDArray[np.int64],
) -> None:
    """Push lids out of the balls that they have moved into.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    displacements : (P, S, 3) float32
        Changed in place, in the blink of each eye.
    poses : sequence of str
        Names of the P poses.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    skin : (n,) int64
        Vertices of the face.
    """
    for eye in eyes:
        blink = f"eyeBlink{eye.side}"
        if blink not in poses:
            continue
        ball = points[eye.vertices] - eye.centre
        radii = np.linalg.norm(ball, axis=1)
        # An iris and a pupil may lie within.
        outer = radii > OUTER * radii.max()
        ball, radii = ball[outer], radii[outer]
        directions = KDTree(ball / radii[:, None])
        rest = points[skin] - eye.centre
        near = in_front(rest, AROUND * radii.max())
        motion = displacements[poses.index(blink)]
        rest = rest[near]
        closed = rest + motion[skin[near]]
        low = np.linalg.norm(closed, axis=1) < (1 + CLEAR[1]) * radii.max()
        rest, closed = rest[low], closed[low]
        above, now = (_height(place, directions, radii) for place in (rest, closed))
        wanted = above.clip(1 + CLEAR[0], 1 + CLEAR[1])
        short = (above > 1) & (now < wanted)
        if short.any():
            lift = (wanted / now - 1)[short] * np.linalg.norm(closed[short], axis=1)
            _lift(points - eye.centre, motion, closed[short], lift, radii.max())


def in_front(rest: Doubles, reach: float) -> NDArray[np.bool_]:
    """Which places (n, 3) about the middle of a ball are in front of it and nearer than ``reach``."""
    return (rest[:, 2] > 0) & (np.linalg.norm(rest, axis=1) < reach)


def _lift(rest: Doubles, motion: NDArray[np.float32], low: Doubles, lift: Doubles, radius: float) -> None:
    """Move what is near places ``low (n, 3)`` away from the middle of a ball, by what they need, ``lift (n,)``.

    ``rest (S, 3)`` is about that middle, ``motion (S, 3)`` is changed in place. The ball itself, which a blink does
    not turn, stays.
    """
    order = np.argsort(-lift)
    _, first = np.unique(np.floor(low[order] / (CELL * radius)), axis=0, return_index=True)
    low, lift = low[order[first]], lift[order[first]]
    near = np.flatnonzero(motion.any(axis=1) & in_front(rest, AROUND * radius))
    place = rest[near] + motion[near]
    apart = distance.cdist(place, low, "sqeuclidean")
    much = (lift * np.exp(-apart / (SPREAD * radius) ** 2)).max(axis=1)
    motion[near] += ((much / np.linalg.norm(place, axis=1).clip(min=1e-9))[:, None] * place).astype(
        np.float32
    )


def _height(place: Doubles, directions: KDTree, radii: Doubles) -> Doubles:
    """Distance of places (L, 3) from the middle of a ball, in that (n,) of its surface in the nearest direction."""
    far = np.linalg.norm(place, axis=1).clip(min=1e-9)
    return far / radii[directions.query(place / far[:, None])[1]]
