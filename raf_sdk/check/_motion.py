"""Motion: each shape moves the right place, the right way, by a plausible amount, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.face import skin_of
from raf_sdk._report import Bar, Check
from raf_sdk.check._eyeballs import SIDES
from raf_sdk.check._head import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["check_direction", "check_place", "check_reach", "check_still"]

# Stem -> direction of the motion, X away from the middle for shapes of a side. Shapes on whose direction the true rigs
# do not agree are left out: mouthDimple, mouthPress, mouthRollLower, noseSneer.
DIRECTIONS: Final[dict[str, tuple[float, float, float]]] = {
    "browDown": (0, -1, 0),
    "browInnerUp": (0, 1, 0),
    "browOuterUp": (0, 1, 0),
    "cheekPuff": (0, 0, 1),
    "cheekSquint": (0, 1, 0),
    "eyeBlink": (0, -1, 0),
    "eyeLookDown": (0, -1, 0),
    "eyeLookUp": (0, 1, 0),
    "eyeWide": (0, 1, 0),
    "eyeSquint": (0, 1, 0),
    "jawForward": (0, 0, 1),
    "jawLeft": (1, 0, 0),
    "jawOpen": (0, -1, 0),
    "jawRight": (-1, 0, 0),
    "mouthFrown": (0, -1, 0),
    "mouthFunnel": (0, 0, 1),
    "mouthLeft": (1, 0, 0),
    "mouthLowerDown": (0, -1, 0),
    "mouthPucker": (0, 0, 1),
    "mouthRight": (-1, 0, 0),
    "mouthRollUpper": (0, 0, -1),
    "mouthShrugLower": (0, 1, 0),
    "mouthShrugUpper": (0, 1, 0),
    "mouthSmile": (0, 1, 0),
    "mouthStretch": (1, 0, 0),
    "mouthUpperUp": (0, 1, 0),
    "tongueOut": (0, 0, 1),
}
# Prefix -> heights between which the middle of the motion lies.
PLACES: Final = {
    "brow": (0.5, 2.2),
    "eye": (-0.4, 1.3),
    "cheek": (-1.6, 0.6),
    "nose": (-1.2, 1.0),
    "mouth": (-2.2, -0.4),
    "jaw": (-2.8, -0.8),
    "tongue": (-2.2, -0.6),
}
# Prefix -> heights below and above which nothing of the face moves: at most 0.05 there on true rigs.
SPARED: Final = {
    "brow": (-0.7, np.inf),
    "eye": (-0.7, 1.3),
    "cheek": (-np.inf, 1.3),
    "nose": (-np.inf, 1.7),
    "mouth": (-np.inf, 1.3),
    "jaw": (-np.inf, 1.3),
    "tongue": (-np.inf, 1.3),
}
# Largest motion of a vertex, canonical: that of the three families of true rigs where it is largest.
# fmt: off
PEAKS: Final[dict[str, float]] = {
    "browDown": 0.17, "browInnerUp": 0.15, "browOuterUp": 0.20, "cheekPuff": 0.34,
    "cheekSquint": 0.21, "eyeBlink": 0.41, "eyeLookDown": 0.18, "eyeLookIn": 0.17,
    "eyeLookOut": 0.14, "eyeLookUp": 0.09, "eyeSquint": 0.09, "eyeWide": 0.09,
    "jawForward": 0.26, "jawLeft": 0.21, "jawRight": 0.21, "jawOpen": 1.00,
    "mouthClose": 0.97, "mouthDimple": 0.21, "mouthFrown": 0.18, "mouthFunnel": 0.31,
    "mouthLeft": 0.44, "mouthRight": 0.44, "mouthLowerDown": 0.13, "mouthPress": 0.20,
    "mouthPucker": 0.29, "mouthRollLower": 0.33, "mouthRollUpper": 0.27, "mouthShrugLower": 0.26,
    "mouthShrugUpper": 0.14, "mouthSmile": 0.45, "mouthStretch": 0.24, "mouthUpperUp": 0.22,
    "noseSneer": 0.24, "tongueOut": 0.67,
}
# fmt: on
# The families differ by up to 2.3; ten times too much is beyond this for each of them.
PEAK_RANGE: Final = 3.0
NOTHING: Final = 0.01
UNSIDED: Final = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")

WAY_BAR: Final = Bar("of the motion goes that way", low=0.15)
HALF_BAR: Final = Bar("of the visible motion on the other half", high=0.05)
# A lip is one piece across the middle: up to 0.11 on true rigs.
LIP_BAR: Final = Bar(HALF_BAR.unit, high=0.15)
STILL_BAR: Final = Bar("units", high=0.1)
# The other half begins here: shapes fade out across the middle.
MIDDLE: Final = 0.35
# Scalp, hair, hats, clothes: above the forehead, behind the ears, or below the neck.
CROWN: Final = 2.3
BODY: Final = -3.5
BACK: Final = -2.6


def side_of(shape: str) -> float:
    """1 for a shape of the character's left, -1 for the right, 0 for one of both."""
    return 0.0 if shape in UNSIDED else next((s for side, s in SIDES.items() if shape.endswith(side)), 0.0)


def stem(shape: str) -> str:
    """Name without the side."""
    return shape.removesuffix("Left").removesuffix("Right") if side_of(shape) else shape


def place_of(shape: str) -> str:
    """The prefix of a name that tells the place: brow, eye, cheek, nose, mouth, jaw, tongue."""
    return next(prefix for prefix in PLACES if shape.startswith(prefix))


def check_reach(head: Head) -> Iterator[Check]:
    """Each shape moves something, and nothing further than a face can."""
    if absent := head.missing(ARKIT_POSES):
        yield Check.unasked("shapes there", absent, f"absent, so not checked: {', '.join(absent)}")
    name = "moves something"
    for shape in head.names:
        peak = float(np.linalg.norm(head.motion(shape), axis=1).max())
        if shape == "tongueOut" and peak == 0:
            yield Check.unasked(name, [shape], "nothing moves: a head without a tongue")
            continue
        bar = Bar("units at most", NOTHING, PEAK_RANGE * PEAKS[stem(shape)])
        bad = "nothing moves" if peak < NOTHING else "it moves further than a face can"
        yield Check.judged(name, [shape], peak, bar, "it does", bad)


def check_direction(head: Head) -> Iterator[Check]:
    """What a shape moves goes the way that its name says: smiles up, brows up and down, jaw left."""
    name = "right way"
    for shape in head.names:
        motion = head.motion(shape)
        way = np.array(DIRECTIONS.get(stem(shape), (0.0, 0.0, 0.0)))
        size = np.linalg.norm(motion, axis=1)
        if stem(shape) != "tongueOut":
            size *= head.front & head.skin
        if not way.any() or size.max() < NOTHING:
            continue
        way[0] *= side_of(shape) or 1.0
        weight = head.area * size
        along = float((weight * (motion @ way)).sum() / (weight * size).sum())
        words = _words(way)
        yield Check.judged(name, [shape], along, WAY_BAR, f"it goes {words}", f"it does not go {words}")


def check_place(head: Head) -> Iterator[Check]:
    """The middle of what a shape moves is at brows, eyes, cheeks, nose, mouth or jaw, and on its own side."""
    for shape in head.names:
        motion = head.motion(shape)
        energy = head.area * (motion**2).sum(axis=1)
        if not energy.any():
            continue
        middle = energy @ head.points / energy.sum()
        place = place_of(shape)
        yield Check.judged(
            "right place",
            [shape],
            middle[1],
            Bar("units high", *PLACES[place]),
            f"it is at the {place}",
            f"its middle is not at the {place}",
        )
        side = side_of(shape)
        if side:
            words = "left" if side > 0 else "right"
            yield Check.judged(
                "own side",
                [shape],
                middle[0] * side,
                Bar(f"units {words}", low=0.1),
                "it is on its side",
                "it moves the other side of the face",
            )


def check_still(head: Head) -> Iterator[Check]:
    """Nothing moves that should not: the other half of the face, scalp, hair, hats, body."""
    still = still_parts(head)
    for shape in head.names:
        size = np.linalg.norm(head.motion(shape), axis=1)
        side = side_of(shape)
        energy = (head.area * size**2)[head.front]
        if side and energy.any():
            other = (head.points[:, 0] * side < -MIDDLE)[head.front]
            share = float(energy[other].sum() / energy.sum())
            yield Check.judged(
                "other half still",
                [shape],
                share,
                LIP_BAR if shape.startswith("mouth") else HALF_BAR,
                "it stays",
                "it drags the other half of the face along",
            )
        low, high = SPARED[place_of(shape)]
        height = head.points[head.front, 1]
        spared = size[head.front][(height < low) | (height > high)]
        if len(spared):
            yield Check.judged(
                "rest of the face still",
                [shape],
                float(spared.max()),
                STILL_BAR,
                "it stays",
                f"it drags more than the {place_of(shape)} along",
            )
        if still.any():
            yield Check.judged(
                "scalp, hair, body still",
                [shape],
                float(size[still].max()),
                STILL_BAR,
                "they stay",
                "it moves scalp, hair, hat, body or the back of the head",
            )


def still_parts(head: Head) -> NDArray[np.bool_]:
    """(S,) mask of what no expression moves: the crown, the back, and parts but the skin that are mostly there."""
    height = head.points[:, 1]
    far = (height > CROWN) | (height < BODY) | (head.points[:, 2] < BACK)
    count = int(head.component.max()) + 1
    whole = np.bincount(head.component, weights=head.area, minlength=count)
    share = np.bincount(head.component, weights=head.area * far, minlength=count) / np.maximum(whole, 1e-30)
    share[skin_of(head.points, head.faces, head.component)] = 0
    return far | (share > 0.5)[head.component]


def _words(way: NDArray[np.float64]) -> str:
    axis = int(np.abs(way).argmax())
    return (("left", "right"), ("up", "down"), ("forward", "back"))[axis][int(way[axis] < 0)]
