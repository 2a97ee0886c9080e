"""The canonical frame of a rig that is checked, held against the eyeballs.

Hats and hair can lift or tilt the estimated frame. Where two eyeballs can be seen to be a pair, the frame must put
them where eyes are: if it does not, it is estimated anew from the skin around them, and in the last resort moved
and scaled onto them.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.frame import Frame, estimate_frame
from raf_sdk.check._eyeballs import PLACE, Eye, find_eyes, round_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from raf_runtime.surface import Surface

__all__ = ["find_frame"]

# Two balls are a pair of eyes if they are alike, and this many radii apart: 4 to 5 on people.
ALIKE: Final = 0.1
APART: Final = (2.2, 7.0)
# The skin comes this near to both of them, in radii.
AROUND: Final = 2.5


def find_frame(surface: Surface) -> Frame:
    """Estimate the frame of a head, corrected by its eyeballs.

    Parameters
    ----------
    surface
        The neutral head.

    Returns
    -------
    Frame
        To canonical coordinates.
    """
    frame = estimate_frame(surface.vertices, surface.faces, component=surface.component)
    if _sees_both(surface, frame):
        return frame
    pair = _pair(frame.to_canonical(surface.vertices), surface.component)
    if pair is None:
        return frame
    bare = _bare(surface, frame.to_canonical(surface.vertices), pair)
    if len(bare):
        frame = estimate_frame(surface.vertices, bare)
    return frame if _sees_both(surface, frame) else _snapped(surface, frame, pair)


def _sees_both(surface: Surface, frame: Frame) -> bool:
    return len(find_eyes(frame.to_canonical(surface.vertices), surface.component)) == 2


def _pair(points: NDArray[np.float64], component: NDArray[np.int64]) -> tuple[Eye, Eye] | None:
    """The largest two balls that are alike and as far apart as eyes."""
    pairs = [
        (a, b)
        for a, b in combinations(round_parts(points, component), 2)
        if abs(a.radius - b.radius) < ALIKE * a.radius
        and abs(len(a.vertices) - len(b.vertices)) <= ALIKE * len(a.vertices)
        and APART[0] * a.radius < np.linalg.norm(a.centre - b.centre) < APART[1] * a.radius
    ]
    return max(pairs, key=lambda pair: pair[0].radius, default=None)


def _bare(surface: Surface, points: NDArray[np.float64], pair: tuple[Eye, Eye]) -> NDArray[np.int64]:
    """Triangles (T, 3) of the eyeballs and of the parts that surround both."""
    count = int(surface.component.max()) + 1
    near = np.ones(count, bool)
    balls = np.zeros(count, bool)
    for eye in pair:
        close = np.linalg.norm(points - eye.centre, axis=1) < AROUND * eye.radius
        near &= np.bincount(surface.component[close], minlength=count) > 0
        balls[surface.component[eye.vertices]] = True
    skin = np.flatnonzero(near & ~balls)
    if len(skin) == 0:
        return np.empty((0, 3), np.int64)
    balls[skin[0]] = True  # parts are numbered by falling area
    return surface.faces[balls[surface.component[surface.faces[:, 0]]]]


def _snapped(surface: Surface, frame: Frame, pair: tuple[Eye, Eye]) -> Frame:
    """The frame of the same axes that has the eyeballs where they belong."""
    centres = np.stack([surface.vertices[eye.vertices].mean(axis=0) for eye in pair])
    unit = float(np.linalg.norm(centres[0] - centres[1])) / (2 * PLACE[0])
    middle = np.array([0.0, PLACE[1], PLACE[2]])
    return Frame(frame.rotation, centres.mean(axis=0) - unit * middle @ frame.rotation, unit)
