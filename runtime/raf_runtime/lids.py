"""Lids slide over eyeballs: what lies outside a ball at rest stays outside while the ball rests.

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
# Shapes that draw lids over a ball which rests.
OVER: Final = ("eyeBlink", "eyeSquint", "cheekSquint")
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
        Changed in place, in the shapes that close the lids of each eye.
    poses : sequence of str
        Names of the P poses.
    eyes
        From :func:`raf_runtime.eyes.find_eyes`.
    skin : (n,) int64
        Vertices of the face.
    """
    for eye in eyes:
        closing = [poses.index(name + eye.side) for name in OVER if name + eye.side in poses]
        ball = points[eye.vertices] - eye.centre
        radii = np.linalg.norm(ball, axis=1)
        # An iris and a pupil may lie within.
        outer = radii > OUTER * radii.max()
        ball, radii = ball[outer], radii[outer]
        directions, reach = KDTree(ball / radii[:, None]), (1 + CLEAR[1]) * radii.max()
        rest = points[skin] - eye.centre
        far = np.linalg.norm(rest, axis=1)
        near = (rest[:, 2] > 0) & (far < AROUND * radii.max())
        lids, rest, far = skin[near], rest[near], far[near]
        under = radii[directions.query(rest / far[:, None])[1]]
        wanted = np.where(far > under, np.clip(far / under, 1 + CLEAR[0], 1 + CLEAR[1]), 0.0)
        for row in closing:
            place = rest + displacements[row, lids]
            far = np.linalg.norm(place, axis=1)
            moved = np.flatnonzero((far < reach) & (wanted > 0))
            if not len(moved):
                continue
            place, far = place[moved], far[moved].clip(min=1e-9)
            under = radii[directions.query(place / far[:, None])[1]]
            short = (under * wanted[moved] - far).clip(min=0)
            displacements[row, lids[moved]] += (short / far)[:, None] * place
