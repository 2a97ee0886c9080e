"""Lids slide over eyeballs: what lies outside a ball at rest stays outside in a blink.

A lid closes along a straight line, and a ball is round: by a small error of where the lid arrives, the ball comes
through it, and a closed eye looks half open.

Axis legend: S surface vertices, P poses, n vertices of one part, L vertices around a ball.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.eyes import Eye
from raf_runtime.rigid import Doubles

__all__ = ["keep_outside"]

# How far from the middle of a ball its lids are at most, in its radii.
AROUND: Final = 1.6
# Vertices of an eyeball nearer to its middle than this share of the farthest one's distance are not its surface.
OUTER: Final = 0.8
# How far from a ball its lids keep, in its radii: as far as at rest, but no less and no more than this. Their triangles
# would cut into it between their vertices.
CLEAR: Final = (0.03, 0.06)


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
        near = (rest[:, 2] > 0) & (np.linalg.norm(rest, axis=1) < AROUND * radii.max())
        lids, rest = skin[near], rest[near]
        closed = rest + displacements[poses.index(blink), lids]
        low = np.linalg.norm(closed, axis=1) < (1 + CLEAR[1]) * radii.max()
        lids, rest, closed = lids[low], rest[low], closed[low]
        above, now = (_height(place, directions, radii) for place in (rest, closed))
        wanted = above.clip(1 + CLEAR[0], 1 + CLEAR[1])
        short = (above > 1) & (now < wanted)
        push = (wanted / now - 1)[short, None] * closed[short]
        displacements[poses.index(blink), lids[short]] += push.astype(np.float32)


def _height(place: Doubles, directions: KDTree, radii: Doubles) -> Doubles:
    """Distance of places (L, 3) from the middle of a ball, in that (n,) of its surface in the nearest direction."""
    far = np.linalg.norm(place, axis=1).clip(min=1e-9)
    return far / radii[directions.query(place / far[:, None])[1]]
