"""Lids slide over eyeballs: what lies outside a ball at rest stays outside in a blink and in a look down.

A lid moves along a straight line, and a ball is round: by a small error of where the lid arrives, the ball comes
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

__all__ = ["Ball", "in_front", "keep_outside"]

# How far from the middle of a ball its lids are at most, in its radii.
AROUND: Final = 1.6
# Vertices of an eyeball nearer to its middle than this share of the farthest one's distance are not its surface.
OUTER: Final = 0.8
# How far from a ball its lids keep, in its radii: as far as at rest, but no less and no more than this. Their triangles
# would cut into it between their vertices.
CLEAR: Final = (0.03, 0.06)
# How far a lift spreads, and how close places that are too low are taken together, in radii.
SPREAD, CELL = 0.1, 0.05
# Size of the table of distances that is alive at once: scans have 100,000 vertices around an eye.
TABLE_VALUES: Final = 1_000_000


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
        Changed in place, in the blink of each eye and its look down, in which the ball has turned already.
    poses : sequence of str
        Names of the P poses.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    skin : (n,) int64
        Vertices of the face.
    """
    lids, balls = np.zeros((2, len(points)), dtype=np.bool_)
    lids[skin] = True
    for eye in eyes:
        balls[eye.vertices] = True
    for eye in eyes:
        rest = points - eye.centre
        ball = Ball(rest[eye.vertices])
        around = in_front(rest, AROUND * ball.radius)
        around = around[~balls[around]]
        near = around[lids[around]]
        above = ball.height(rest[near])
        for pose in (f"eyeBlink{eye.side}", f"eyeLookDown{eye.side}"):
            if pose not in poses:
                continue
            motion = displacements[poses.index(pose)]
            turned = Ball(rest[eye.vertices] + motion[eye.vertices]) if motion[eye.vertices].any() else ball
            low, lift = _too_low(rest[near] + motion[near], above, turned)
            if len(low):
                moving = around[motion[around].any(axis=1)]
                motion[moving] += _lifted(rest[moving] + motion[moving], low, lift, ball.radius)


def _too_low(place: Doubles, above: Doubles, ball: Ball) -> tuple[Doubles, Doubles]:
    """Those of places (L, 3) that are too near to a ball, and how much they lack; at rest it is ``above (L,)``."""
    near = np.linalg.norm(place, axis=1) < (1 + CLEAR[1]) * ball.radius
    place, above = place[near], above[near]
    now, wanted = ball.height(place), above.clip(1 + CLEAR[0], 1 + CLEAR[1])
    short = (above > 1) & (now < wanted)
    return place[short], (wanted / now - 1)[short] * np.linalg.norm(place[short], axis=1)


class Ball:
    """Surface of an eyeball by its vertices (n, 3) about its middle."""

    def __init__(self, vertices: Doubles) -> None:
        radii = np.linalg.norm(vertices, axis=1)
        self.radius = float(radii.max())
        outer = radii > OUTER * self.radius  # an iris and a pupil may lie within
        self.radii = radii[outer]
        self.directions = KDTree(vertices[outer] / self.radii[:, None])

    def height(self, place: Doubles) -> Doubles:
        """Distance of places (L, 3) from the middle, in that (L,) of the surface in the nearest direction."""
        far = np.linalg.norm(place, axis=1).clip(min=1e-9)
        return far / self.radii[self.directions.query(place / far[:, None])[1]]


def in_front(rest: Doubles, reach: float) -> NDArray[np.int64]:
    """Which of the places (n, 3) about the middle of a ball are in front of it and nearer than ``reach``: (L,)."""
    ahead = np.flatnonzero((rest[:, 2] > 0) & (rest[:, 2] < reach) & (np.abs(rest[:, 0]) < reach))
    return ahead[np.linalg.norm(rest[ahead], axis=1) < reach]


def _lifted(place: Doubles, low: Doubles, lift: Doubles, radius: float) -> NDArray[np.float32]:
    """How far places (L, 3) move from the middle of a ball where places ``low (n, 3)`` need to, by ``lift (n,)``."""
    order = np.argsort(-lift)
    _, first = np.unique(np.floor(low[order] / (CELL * radius)), axis=0, return_index=True)
    low, lift = low[order[first]], lift[order[first]]
    step = max(1, TABLE_VALUES // len(low))
    blocks = (place[start : start + step] for start in range(0, len(place), step))
    apart = (distance.cdist(block, low, "sqeuclidean") / (SPREAD * radius) ** 2 for block in blocks)
    much = np.concatenate([np.empty(0), *((lift * np.exp(-squares)).max(axis=1) for squares in apart)])
    return ((much / np.linalg.norm(place, axis=1).clip(min=1e-9))[:, None] * place).astype(np.float32)
