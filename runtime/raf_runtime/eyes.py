"""Eyeballs: found by their shape and place, and turned about their own centre by the eyeLook shapes alone.

Axis legend: S surface vertices, P poses, n vertices of one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from raf_runtime.rigid import Doubles, nearest_rotations

__all__ = ["Eye", "find_eyes", "turn_eyes"]

LOOKS: Final = ("Down", "In", "Out", "Up")
# Largest distance from the best sphere, in its radii: leaves room for a bulging cornea (0.14 on ICT-FaceKit).
ROUND: Final = 0.2
# Half a ball may be closed behind: a smaller share of the vertices than this is nearer to the middle than that.
WITHIN_BALL: Final = 0.1
# Smallest standard deviation along an axis, in radii: 0.29 of a hemisphere; at most 0.18 of lashes, lids and fluids.
SPREAD: Final = 0.25
# Radii of eyeballs in canonical units: a human's is about 0.32, a cartoon's several times that.
RADII: Final = (0.1, 1.2)
FEWEST: Final = 20
# Narrowest over widest side of a box around a cap: spares most parts the fit.
FLAT: Final = 0.4
# Where an eyeball's centre may be: beads, buttons and earrings are round as well. Loose, since a hat can lift the
# canonical frame by more than a unit.
PLACE: Final = np.array([[-2.0, -2.2, -1.6], [2.0, 2.2, 1.0]])
NEAREST_THE_MIDDLE: Final = 0.15
# A cornea, an iris or a pupil lies within the ball, give or take, and in front of the middle of it; a rim of fluid or
# a lid reaches further around it. In radii: distance of all vertices, width, distance of the middle from the axis.
WITHIN, WIDTH, OFF_AXIS = 1.3, 1.6, 0.3


@dataclass(frozen=True, slots=True)
class Eye:
    """One eyeball with everything that turns with it.

    Attributes
    ----------
    vertices : (n,) int64
        Of the ball, its shells, cornea and iris.
    centre : (3,) float64
        Of the ball, canonical: the point that stays.
    side : str
        ``"Left"`` or ``"Right"``, the character's own.
    """

    vertices: NDArray[np.int64]
    centre: Doubles
    side: str


def find_eyes(points: Doubles, parts: Sequence[NDArray[np.int64]]) -> list[Eye]:
    """Group the parts that lie on a sphere where an eye may be, and what lies within them.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    parts : sequence of (n,) int64
        Vertices of each connected part that may be one, by falling area.
    """
    balls: list[tuple[Doubles, float, list[NDArray[np.int64]]]] = []
    others: list[NDArray[np.int64]] = []
    for part in parts:
        sphere = _sphere(points[part])
        if sphere is None:
            others.append(part)
            continue
        centre, radius = sphere
        shell = next((ball for ball in balls if np.linalg.norm(ball[0] - centre) < ball[1] / 2), None)
        if shell is None:
            balls.append((centre, radius, [part]))
        else:
            shell[2].append(part)
    # A monocle is round as well, and lies in front of an eye.
    worn = [any(_in_front(ball[0] - other[0], other[1]) for other in balls) for ball in balls]
    others += [part for ball, is_worn in zip(balls, worn, strict=True) if is_worn for part in ball[2]]
    balls = [ball for ball, is_worn in zip(balls, worn, strict=True) if not is_worn]
    for part in others:
        for centre, radius, members in balls:
            if _turns_with(points[part] - centre, radius):
                members.append(part)
                break
    return [
        Eye(np.concatenate(members), centre, "Left" if centre[0] > 0 else "Right")
        for centre, _, members in balls
    ]


def turn_eyes(
    points: Doubles, displacements: NDArray[np.float32], poses: Sequence[str], eyes: Sequence[Eye]
) -> None:
    """Make eyes turn about their centres in their own looks, and stay in all other poses.

    How far, the network says. People's eyes turn alike, so the one that it turns further speaks for both.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    displacements : (P, S, 3) float32
        Changed in place.
    poses : sequence of str
        Names of the P poses.
    eyes
        From :func:`find_eyes`.
    """
    turns: dict[str, Doubles] = {}  # look -> axis times angle (3,) of the character's left eye
    for eye in eyes:
        rest = points[eye.vertices] - eye.centre
        for look, row in _looks(eye, poses):
            rotation = nearest_rotations(rest, (rest + displacements[row, eye.vertices])[None])[0]
            turn = Rotation.from_matrix(rotation.T).as_rotvec() * _side(eye)
            if np.linalg.norm(turn) >= np.linalg.norm(turns.get(look, np.zeros(3))):
                turns[look] = turn
    for eye in eyes:
        rest = points[eye.vertices] - eye.centre
        for pose in displacements:
            pose[eye.vertices] = 0
        for look, row in _looks(eye, poses):
            rotation = Rotation.from_rotvec(turns[look] * _side(eye))
            displacements[row, eye.vertices] = rotation.apply(rest) - rest


def _looks(eye: Eye, poses: Sequence[str]) -> list[tuple[str, int]]:
    """Looks of an eye that are among the poses, with their rows."""
    names = [(look, f"eyeLook{look}{eye.side}") for look in LOOKS]
    return [(look, poses.index(name)) for look, name in names if name in poses]


def _side(eye: Eye) -> Doubles:
    """Factors of a turn (axis times angle) that exchange an eye for the left one: as seen in a mirror x -> -x."""
    return np.array([1.0, 1.0, 1.0] if eye.side == "Left" else [1.0, -1.0, -1.0])


def _sphere(points: Doubles) -> tuple[Doubles, float] | None:
    """Centre and radius of the eyeball that points (n, 3) lie on, if it is one.

    The sphere is algebraic: Coope, "Circle fitting by linear and nonlinear least squares" (1993).
    """
    if len(points) < FEWEST:
        return None
    width = np.sort(points.max(axis=0) - points.min(axis=0))
    if width[0] < FLAT * width[2]:
        return None
    middle = points.mean(axis=0)
    centred = points - middle
    square = np.einsum("ij,ij->i", centred, centred)
    spread = centred.T @ centred
    # The normal equations of 2 centre . p + (radius^2 - centre^2) = p^2; their mixed terms vanish.
    centre = np.linalg.lstsq(2 * spread, square @ centred, rcond=None)[0]
    radius = float(np.sqrt(square.mean() + centre @ centre))
    place = centre + middle
    if not RADII[0] < radius < RADII[1] or (place < PLACE[0]).any() or (place > PLACE[1]).any():
        return None
    # A lash strip or a lid also lies near some sphere, but spans a small part of it.
    if (
        abs(place[0]) < NEAREST_THE_MIDDLE
        or np.linalg.eigvalsh(spread / len(points))[0] ** 0.5 < SPREAD * radius
    ):
        return None
    off = np.linalg.norm(centred - centre, axis=1) / radius - 1
    return (place, radius) if off.max() < ROUND and (off < -ROUND).mean() < WITHIN_BALL else None


def _in_front(offset: Doubles, radius: float) -> bool:
    """Whether something at ``offset (3,)`` from the middle of a ball hides it from the front."""
    return bool(offset[2] > radius and np.hypot(offset[0], offset[1]) < radius)


def _turns_with(points: Doubles, radius: float) -> bool:
    """Whether a part (n, 3), relative to the centre of a ball, is its cornea, iris or pupil."""
    if points[0] @ points[0] > (WITHIN * radius) ** 2:
        return False
    reach = np.linalg.norm(points, axis=1).max()
    width = np.ptp(points[:, :2], axis=0).max()
    off_axis = np.linalg.norm(points[:, :2].mean(axis=0))
    return bool(reach < WITHIN * radius and width < WIDTH * radius and off_axis < OFF_AXIS * radius)
