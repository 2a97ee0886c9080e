"""Mouth: the jaw opens it and the chin drops, the lips seal again, teeth stay behind lips.

A mouth is open where one sees, from straight ahead, material that was hidden in the neutral.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from raf_sdk._report import Bar, Check
from raf_sdk.check._head import MOUTH, Head
from raf_sdk.check._view import View, material, newly_seen, poking_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["check_jaw", "check_seal", "check_teeth"]

# From below the nose to the chin of an open mouth; the cheeks beside it are left out.
LIPS: Final = View(-0.7, -2.2, 0.7, -0.65, 96)
CHIN: Final = (MOUTH[1] - 1.2, MOUTH[1] - 0.5)  # heights of the chin below the lips
OPEN_BAR: Final = Bar("square units newly seen", low=0.05)
CHIN_BAR: Final = Bar("units down", low=0.15, high=1.5)
SEAL_BAR: Final = Bar("of the opening left", high=0.25)
TEETH_BAR: Final = Bar("square units of teeth through lips", high=0.05)
# The inside of a mouth lies at most this far behind its lips, and no part of it reaches beyond them in the neutral.
INSIDE: Final = 1.5


def check_jaw(head: Head) -> Iterator[Check]:
    """JawOpen opens the mouth and drops the chin."""
    shape = "jawOpen"
    if shape not in head:
        yield Check.unasked("mouth opens", [shape], f"the rig has no {shape}")
        yield Check.unasked("chin drops", [shape], f"the rig has no {shape}")
        return
    motion = head.motion(shape)
    if fused(head):
        yield Check.unasked("mouth opens", [shape], "the lips are one surface without a slit")
    else:
        opening = opened(head, motion)
        yield Check.judged(
            "mouth opens", [shape], opening, OPEN_BAR, "one sees inside", "the mouth stays shut"
        )
    seen = head.neutral_view
    place = material(seen, head.points, head.faces)
    chin = (np.abs(place[:, 0]) < 0.35) & (place[:, 1] > CHIN[0]) & (place[:, 1] < CHIN[1])
    if not chin.any():
        yield Check.unasked("chin drops", [shape], "no surface where the chin would be")
        return
    drop = -float(np.median(material(seen, motion, head.faces)[chin, 1]))
    yield Check.judged(
        "chin drops", [shape], drop, CHIN_BAR, "it drops", "the chin does not drop as far as it should"
    )


def check_seal(head: Head) -> Iterator[Check]:
    """MouthClose on top of jawOpen brings the lips together."""
    name, shapes = "lips seal", ("mouthClose", "jawOpen")
    if head.missing(shapes):
        yield Check.unasked(name, shapes, f"the rig has no {head.missing(shapes)[0]}")
        return
    if fused(head):
        yield Check.unasked(name, shapes, "the lips are one surface without a slit")
        return
    opening = opened(head, head.motion("jawOpen"))
    if not OPEN_BAR.holds(opening):
        yield Check.unasked(name, shapes, "jawOpen does not open the mouth")
        return
    left = opened(head, head.motion(*shapes)) / opening
    yield Check.judged(name, shapes, left, SEAL_BAR, "the lips meet", "the lips do not meet")


def check_teeth(head: Head) -> Iterator[Check]:
    """Teeth, gums and tongue stay behind the outside of the lips."""
    name = "teeth behind lips"
    shapes = [shape for shape in head.names if shape.startswith(("mouth", "jaw"))]
    parts = inside_parts(head)
    if not parts.any():
        yield Check.unasked(name, [], "no teeth or tongue of their own inside the mouth")
        return
    near = LIPS.near(head.points, 0.3)[head.faces].any(axis=1)
    inner = head.faces[near & parts[head.faces[:, 0]]]
    outer = head.faces[near & head.skin[head.faces[:, 0]]]
    shown = np.zeros(len(outer), bool)
    shown[LIPS.look(head.points, outer).faces] = True

    def through(points: NDArray[np.float64]) -> float:
        return LIPS.area(len(poking_through(LIPS, points, inner, outer, shown)))

    neutral = through(head.points)
    for shape in shapes:
        poses = (shape, "jawOpen") if shape == "mouthClose" else (shape,)
        if head.missing(poses):
            yield Check.unasked(name, poses, f"the rig has no {head.missing(poses)[0]}")
            continue
        more = max(through(head.points + head.motion(*poses)) - neutral, 0.0)
        yield Check.judged(
            name, poses, more, TEETH_BAR, "they stay inside", "teeth, gums or tongue come through the lips"
        )


def opened(head: Head, motion: NDArray[np.float64]) -> float:
    """Area of newly seen material between the lips, square units."""
    near = LIPS.near(head.points, 1.0)[head.faces].any(axis=1)
    return LIPS.area(len(newly_seen(LIPS, head.points, head.points + motion, head.faces[near])))


def inside_parts(head: Head) -> NDArray[np.bool_]:
    """(S,) mask of the parts that lie inside the mouth: near it, and hidden by the skin or little seen."""
    count = int(head.component.max()) + 1
    offset = head.points - MOUTH
    away = (np.abs(offset[:, 0]) > 0.9) | (np.abs(offset[:, 1]) > 0.9) | (np.abs(offset[:, 2]) > INSIDE)
    away |= head.skin
    share = np.bincount(head.component, weights=away, minlength=count) / np.bincount(
        head.component, minlength=count
    )
    seen = np.bincount(head.component[head.faces[head.neutral_view.faces, 0]], minlength=count)
    visible = seen / 48**2 > 0.15 * np.bincount(head.component, weights=head.area, minlength=count)
    return ((share < 0.1) & ~visible)[head.component]


def fused(head: Head) -> bool:
    """Whether the skin around the mouth is one sheet: no open edge, nothing of it folded behind its front."""
    x, y, _ = (head.points - MOUTH).T
    near = head.skin & (np.abs(x) < 0.5) & (np.abs(y) < 0.45)
    depths = np.full(LIPS.shape, np.inf)
    depths = LIPS.depths(LIPS.look(head.points, head.faces[head.skin[head.faces[:, 0]]]))
    place = LIPS.project(head.points[near])
    column, row = np.floor(place[:, 0]).astype(np.int64), np.floor(place[:, 1]).astype(np.int64)
    behind = place[:, 2] - depths[row, column]
    if ((behind > 0.08) & (behind < INSIDE)).any():
        return False
    faces = head.faces[near[head.faces].any(axis=1)]
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges = edges[near[edges].all(axis=1)]
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    return not bool((counts == 1).any())
