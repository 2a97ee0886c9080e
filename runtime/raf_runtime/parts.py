"""What a head is made of besides its skin, and how each kind of part moves.

Exactly, not nearly: eyeballs turn, teeth follow the jaw or stay, hats and hair stay, and the two sides of a card
go together, whatever the network says of their single vertices.

Axis legend: S surface vertices, T triangles, P poses, n vertices of one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raf_runtime.blinks import Lids, close_blinks, find_lids
from raf_runtime.cards import Cards
from raf_runtime.discs import Disc, find_discs, slide_discs
from raf_runtime.eyes import Eye, find_eyes, turn_eyes
from raf_runtime.face import skin_of
from raf_runtime.lids import keep_outside
from raf_runtime.lips import around_the_mouth, seal_lips
from raf_runtime.rigid import Doubles
from raf_runtime.still import Loose
from raf_runtime.teeth import behind_the_mouth, move_teeth
from raf_runtime.threads import two_at_a_time
from raf_runtime.twins import find_twins, join_twins

__all__ = ["Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one head.

    Attributes
    ----------
    points : (S, 3) float64
        Canonical positions.
    skin : int
        The component that is the face.
    eyes : list of Eye
        Eyeballs.
    discs : list of Disc
        Eyes that are no balls.
    lids : list of Lids
    mouth : list of (n,) int64
        Parts behind the lips: teeth, gums, tongue.
    face : (n,) int64
        Vertices of the skin.
    lips : (n,) int64
        Vertices of the skin around the mouth.
    cards : Cards
        Brows and lashes that may ride on the skin.
    loose : Loose
        Parts that may stay.
    twins : (2, n) int64
        Vertices of coincident parts, each with its counterpart.
    """

    points: Doubles
    skin: int
    eyes: list[Eye]
    discs: list[Disc]
    lids: list[Lids]
    mouth: list[NDArray[np.int64]]
    face: NDArray[np.int64]
    lips: NDArray[np.int64]
    cards: Cards
    loose: Loose
    twins: NDArray[np.int64]

    @classmethod
    def find(cls, points: Doubles, faces: NDArray[np.int64], component: NDArray[np.int64]) -> Parts:
        """Sort the connected parts of a canonical surface.

        Parameters
        ----------
        points : (S, 3) float64
            Canonical positions.
        faces : (T, 3) int64
            Triangles.
        component : (S,) int64
            Connected component of every vertex, numbered by falling area.
        """
        skin = skin_of(points, faces, component)
        order = np.argsort(component, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(component[order])) + 1)
        others = [part for number, part in enumerate(parts) if number != skin]
        eyes = find_eyes(points, others)
        free = np.ones(len(points), dtype=bool)
        for eye in eyes:
            free[eye.vertices] = False
        mouth = behind_the_mouth(points, parts[skin], [part for part in others if free[part[0]]])
        for part in mouth:
            free[part] = False
        discs = find_discs(points, others, eyes)
        flat = [disc.eye for disc in discs]
        for eye in flat:
            free[eye.vertices] = False
        cards = Cards.find(points, [part for part in others if free[part[0]]], parts[skin], eyes, flat)
        free[cards.vertices] = False
        loose = Loose.find(points, component, skin, ~free)
        lips = around_the_mouth(points, parts[skin])
        lids = find_lids(points, faces, parts[skin], eyes, discs)
        twins = find_twins(points, others)
        return cls(points, skin, eyes, discs, lids, mouth, parts[skin], lips, cards, loose, twins)

    def turn_eyes(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Turn or keep the eyes (P, S, 3), in place.

        See :func:`raf_runtime.eyes.turn_eyes` and :func:`raf_runtime.discs.slide_discs`.
        """
        turn_eyes(self.points, displacements, poses, self.eyes)
        slide_discs(displacements, poses, self.discs)

    def slide_lids(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Close blinks around eyeballs (P, S, 3), in place.

        See :func:`raf_runtime.blinks.close_blinks` and :func:`raf_runtime.lids.keep_outside`.
        """

        def slide(side: str) -> None:
            lids = [each for each in self.lids if each.eye.side == side]
            eyes = [each for each in self.eyes if each.side == side]
            close_blinks(self.points, displacements, poses, lids)
            keep_outside(self.points, displacements, poses, eyes, self.face)

        # Each side has poses of its own.
        two_at_a_time(slide, ("Left", "Right"))

    def seal_lips(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Let the lips meet (P, S, 3), in place (see :func:`raf_runtime.lips.seal_lips`)."""
        seal_lips(self.points, displacements, poses, self.lips)

    def settle(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Give every other part the motion of its kind.

        Parameters
        ----------
        displacements : (P, S, 3) float32
            Changed in place.
        poses : sequence of str
            Names of the P poses.
        """
        join_twins(displacements, self.twins)
        move_teeth(self.points, displacements, poses, self.mouth)
        self.cards.ride(displacements, poses)
        self.loose.keep_still(displacements)
