"""Eyes: blinks close, lids stay outside the ball, gaze turns it.

The aperture is what can be seen of the eyeball from straight ahead, past the skin alone: lashes, fluids and
corneas are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from raf_sdk._report import Bar, Check
from raf_sdk.check._eyeballs import SIDES, Eye
from raf_sdk.check._head import Head
from raf_sdk.check._view import View, poking_through

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["check_blinks", "check_eyeballs", "check_gaze", "check_lids"]

DENSITY: Final = 160  # pixels per unit: an aperture is about 40 high
# An eye that shows less than this share of its ball's disc is shut: on true rigs it is 0.2 to 0.5.
OPEN: Final = 0.05
# Wider gaps can be seen in pictures. Blinks of true ICT rigs, not fitted to the person, leave up to 0.3.
CLOSED_BAR: Final = Bar("of the aperture left", high=0.2)
OTHER_BAR: Final = Bar("of the other aperture left", low=0.8)
LIDS_BAR: Final = Bar("of the ball's disc cuts through the lids", high=0.08)
RIGID_BAR: Final = Bar("radii off the nearest rigid motion", high=0.1)
# Blinks of Vitruvian press their eyeballs in by 0.19; a ball at half its depth is 0.5 off.
PRESSED_BAR: Final = Bar(RIGID_BAR.unit, high=0.25)
TURN_BAR: Final = Bar("degrees the right way", low=3, high=45)
STILL_BAR: Final = Bar("degrees", high=1)
LID_SHAPES: Final = (
    "eyeBlink",
    "eyeSquint",
    "eyeWide",
    "eyeLookDown",
    "eyeLookIn",
    "eyeLookOut",
    "eyeLookUp",
)
# Where the pupil goes: +X is the character's left.
LOOKS: Final = {"In": (-1.0, 0.0), "Out": (1.0, 0.0), "Up": (0.0, 1.0), "Down": (0.0, -1.0)}


class Aperture:
    """One eye as seen from the front."""

    def __init__(self, head: Head, eye: Eye) -> None:
        x, y = eye.centre[:2]
        reach = 1.7 * eye.radius
        self.view = View(x - reach, y - reach, x + reach, y + reach, DENSITY)
        near = self.view.near(head.points, 3 * eye.radius)[head.faces].any(axis=1)
        ball = np.zeros(len(head.points), bool)
        ball[eye.vertices] = True
        self.inner = head.faces[ball[head.faces[:, 0]]]
        self.outer = head.faces[near & head.skin[head.faces[:, 0]]]
        self.disc = self.view.area(1) ** -1 * np.pi * eye.radius**2
        self.head = head
        shown = self.view.look(head.points, self.outer)
        self.shown = np.zeros(len(self.outer), bool)
        self.shown[shown.faces[shown.depth < -eye.centre[2]]] = True
        self.neutral = self.seen(head.points)

    def seen(self, points: NDArray[np.float64]) -> int:
        """How many pixels see the eyeball."""
        faces = np.concatenate([self.inner, self.outer])
        return int((self.view.look(points, faces).faces < len(self.inner)).sum())

    def cut(self, points: NDArray[np.float64]) -> float:
        """Share of the ball's disc where it lies just in front of the lids."""
        return len(poking_through(self.view, points, self.inner, self.outer, self.shown)) / self.disc


def check_blinks(head: Head, apertures: dict[str, Aperture]) -> Iterator[Check]:
    """Each blink closes its own eye and leaves the other open."""
    for side in SIDES:
        shape, other = f"eyeBlink{side}", "Right" if side == "Left" else "Left"
        for name, which, bar, bad in (
            (
                "blink closes",
                side,
                CLOSED_BAR,
                "the eye stays partly open, or the ball comes through the lids",
            ),
            ("other eye stays open", other, OTHER_BAR, "the blink closes the eye of the other side, too"),
        ):
            if shape not in head:
                yield Check.unasked(name, [shape], f"the rig has no {shape}")
            elif which not in apertures:
                yield Check.unasked(
                    name, [shape], f"no {which.lower()} eyeball: no round part where it would be"
                )
            elif apertures[which].neutral < OPEN * apertures[which].disc:
                yield Check.unasked(name, [shape], f"the {which.lower()} eye is shut in the neutral")
            else:
                aperture = apertures[which]
                share = aperture.seen(head.points + head.motion(shape)) / aperture.neutral
                yield Check.judged(name, [shape], share, bar, "as it should", bad)


def check_lids(head: Head, apertures: dict[str, Aperture]) -> Iterator[Check]:
    """Lids stay outside the eyeball, or go no deeper than in the neutral."""
    name = "lids outside eyeball"
    for side in SIDES:
        for shape in (f"{stem}{side}" for stem in LID_SHAPES):
            if shape not in head:
                yield Check.unasked(name, [shape], f"the rig has no {shape}")
            elif side not in apertures:
                yield Check.unasked(
                    name, [shape], f"no {side.lower()} eyeball: no round part where it would be"
                )
            else:
                aperture = apertures[side]
                deeper = aperture.cut(head.points + head.motion(shape)) - aperture.cut(head.points)
                yield Check.judged(
                    name,
                    [shape],
                    max(deeper, 0.0),
                    LIDS_BAR,
                    "lids clear it",
                    "the eyeball shows through the lids",
                )


def check_eyeballs(head: Head) -> Iterator[Check]:
    """No shape squashes an eyeball or takes its shells apart."""
    name = "eyeballs rigid"
    if not head.eyes:
        yield Check.unasked(name, [], "no eyeballs: no round parts where they would be")
        return
    for shape in head.names:
        motion = head.motion(shape)
        worst = max(
            _rigid(head.points[eye.vertices], motion[eye.vertices])[1] / eye.radius
            for eye in head.eyes.values()
        )
        yield Check.judged(
            name,
            [shape],
            worst,
            RIGID_BAR if shape.startswith("eyeLook") else PRESSED_BAR,
            "they move as solids",
            "an eyeball changes its shape",
        )


def check_gaze(head: Head) -> Iterator[Check]:
    """Each look turns its own eyeball the right way and leaves the other alone."""
    for side, sign in SIDES.items():
        other = "Right" if side == "Left" else "Left"
        for look, (x, y) in LOOKS.items():
            shape = f"eyeLook{look}{side}"
            if shape not in head or side not in head.eyes:
                why = f"the rig has no {shape}" if shape not in head else f"no {side.lower()} eyeball"
                yield Check.unasked("gaze turns", [shape], why)
                continue
            motion = head.motion(shape)
            goal = np.array([x * sign, y])
            pupil = _pupil(head, head.eyes[side], motion)
            turned = float(np.degrees(np.arcsin(np.clip(pupil @ goal, -1, 1))))
            strayed = abs(float(np.degrees(np.arcsin(np.clip(pupil @ goal[::-1], -1, 1)))))
            yield Check.judged(
                "gaze turns",
                [shape],
                turned - strayed,
                TURN_BAR,
                "the pupil goes there",
                "the pupil does not go there",
            )
            if other in head.eyes:
                stray = _pupil(head, head.eyes[other], motion)
                angle = float(np.degrees(np.arcsin(np.clip(np.hypot(*stray), 0, 1))))
                yield Check.judged(
                    "other eyeball still",
                    [shape],
                    angle,
                    STILL_BAR,
                    "it stays",
                    "the other eyeball turns, too",
                )


def _pupil(head: Head, eye: Eye, motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where (2,) a unit vector straight ahead is turned to, X and Y."""
    turn, _ = _rigid(head.points[eye.vertices], motion[eye.vertices])
    return turn[:2, 2]


def _rigid(rest: NDArray[np.float64], motion: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Nearest rotation (3, 3) of points (n, 3), and how far one of them is off it at most.

    Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).
    """
    rest = rest - rest.mean(axis=0)
    moved = rest + motion - motion.mean(axis=0)
    u, _, vt = np.linalg.svd(moved.T @ rest)
    u[:, 2] *= np.linalg.det(u @ vt)
    turn = u @ vt
    return turn, float(np.linalg.norm(moved - rest @ turn.T, axis=1).max())
