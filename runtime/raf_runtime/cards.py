"""Brows and lashes that are cards before the skin go with it where the network leaves them behind.

It moves people's lashes and brows well, but takes the wide cards of cartoon faces for hair.

Axis legend: S surface vertices, P poses, n vertices of cards, K = 12 neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.eyes import Eye
from raf_runtime.rigid import Doubles

__all__ = ["Cards"]

# Corners of a box around brow and lids of the left eye, canonical. A fringe comes from higher up, temples lie further
# back.
PLACE: Final = np.array([[0.1, -0.5, -0.9], [2.2, 1.5, 1.2]])
# A lone triangle is none.
FEWEST: Final = 4
# How far back the middle of a card may lie, and how far before the skin all of it: glasses and visors are further.
BACK, GAP = -0.4, 0.3
# The cards of both sides are this much alike, in canonical units: middle and size.
ALIKE: Final = 0.3
# A lens lies before the middle of an eyeball, nearer to its axis than this, in radii.
BEFORE: Final = 0.7
# What moves less than this share of what the skin beneath does was left behind.
BEHIND: Final = 0.5
# A brow lies higher than this above the middle of an eye, in half of its height: it stays in a blink.
BROW: Final = 0.3
# A row of lashes is at least this wide, canonical.
ROW: Final = 0.3
# Along a card, which does not stretch, what is in a column as wide as this, canonical, goes with the skin under its
# lower edge.
COLUMN: Final = 0.05
# A card goes with this many vertices of the skin, by their nearness; lashes in a blink with that of so many that goes
# down most: the border of the lid.
NEIGHBOURS, AROUND = 3, 8


@dataclass(frozen=True, slots=True)
class Cards:
    """Parts that may ride on the skin.

    Attributes
    ----------
    vertices : (n,) int64
        Which of the surface's they have.
    part : (n,) int64
        The card of each, from 0.
    beneath : (n, K) int64
        Vertices of the skin around the lower edge of the card in the column of each, from the nearest on.
    weights : (n, 3) float32
        How much each goes with the first of them.
    stays : (n,) bool
        Whether the card is a brow, or too small for a row of lashes: it stays in a blink.
    """

    vertices: NDArray[np.int64]
    part: NDArray[np.int64]
    beneath: NDArray[np.int64]
    weights: NDArray[np.float32]
    stays: NDArray[np.bool_]

    @classmethod
    def find(
        cls,
        points: Doubles,
        parts: Sequence[NDArray[np.int64]],
        face: NDArray[np.int64],
        eyes: Sequence[Eye],
        flat: Sequence[Eye] = (),
    ) -> Cards:
        """Find pairs of cards.

        Parameters
        ----------
        points : (S, 3) float64
            Canonical positions.
        parts : sequence of (n,) int64
            Vertices of each connected part that may be one.
        face : (n,) int64
            Vertices of the skin.
        eyes
            Eyeballs.
        flat
            Eyes that are no balls.
        """
        cards = _pairs([part for part in parts if _may_be_card(points, part, eyes)], points, points[face])
        if not cards:
            none = np.empty(0, dtype=np.int64)
            return cls(none, none, none[:, None], np.empty((0, 1), np.float32), none > 0)
        edge = np.concatenate([_lower_edge(points[card]) for card in cards])
        gap, near = KDTree(points[face]).query(edge, min(AROUND, len(face)))
        weights = 1 / np.maximum(gap[:, :NEIGHBOURS], 1e-3)
        weights /= weights.sum(axis=1, keepdims=True)
        part = np.repeat(np.arange(len(cards)), [len(card) for card in cards])
        stays = np.array([_stays(points, card, [*eyes, *flat]) for card in cards])
        return cls(np.concatenate(cards), part, face[near], weights.astype(np.float32), stays[part])

    def ride(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Let those cards that were left behind go with the skin (P, S, 3), in place; brows stay in blinks."""
        if len(self.vertices) == 0:
            return
        near = self.beneath[:, : self.weights.shape[1]]
        with_skin = [np.einsum("nk,nkc->nc", self.weights, pose[near]) for pose in displacements]
        # Blinks have been closed, and have taken along what is near.
        open_eyed = [row for row, name in enumerate(poses) if not name.startswith("eyeBlink")]
        own, skin = (
            np.bincount(self.part, np.sum([np.linalg.norm(some[row], axis=1) for row in open_eyed], axis=0))
            for some in ([pose[self.vertices] for pose in displacements], with_skin)
        )
        left = (own < BEHIND * skin)[self.part]
        for name, pose, moved in zip(poses, displacements, with_skin, strict=True):
            if name.startswith("eyeBlink"):
                lowest = pose[self.beneath, 1].argmin(axis=1)
                moved[:] = pose[self.beneath[np.arange(len(lowest)), lowest]]
                moved[self.stays] = 0
            pose[self.vertices[left]] = moved[left]


def _may_be_card(points: Doubles, part: NDArray[np.int64], eyes: Sequence[Eye]) -> bool:
    """Whether a part lies at the brow or the lids of one side."""
    if len(part) < FEWEST:
        return False
    place = points[part] * np.array([np.sign(points[part[0], 0]), 1.0, 1.0])
    if (place < PLACE[0]).any() or (place > PLACE[1]).any() or place[:, 2].mean() < BACK:
        return False
    middle = points[part].mean(axis=0)
    for eye in eyes:
        radius = np.linalg.norm(points[eye.vertices] - eye.centre, axis=1).max()
        if np.hypot(*(middle - eye.centre)[:2]) < BEFORE * radius:
            return False
    return True


def _pairs(cards: Sequence[NDArray[np.int64]], points: Doubles, skin: Doubles) -> list[NDArray[np.int64]]:
    """Those cards that lie on the skin (n, 3), and have one like it on the other side."""
    if not cards:
        return []
    lows, highs = (np.array([fold(points[card], axis=0) for card in cards]) for fold in (np.min, np.max))
    boxes = np.hstack([(lows + highs) / 2, highs - lows])
    paired = KDTree(boxes).query(boxes * [-1, 1, 1, 1, 1, 1], p=np.inf)[0] < ALIKE
    tree = KDTree(skin)
    on_skin = [tree.query(points[card])[0].max() < GAP for card in cards]
    return [card for card, *both in zip(cards, paired, on_skin, strict=True) if all(both)]


def _stays(points: Doubles, card: NDArray[np.int64], eyes: Sequence[Eye]) -> bool:
    """Whether a card is small, or lies above the eye of its side."""
    if np.ptp(points[card], axis=0).max() < ROW:
        return True
    for eye in eyes:
        if (eye.centre[0] > 0) == (points[card[0], 0] > 0):
            low, high = points[eye.vertices, 1].min(), points[eye.vertices, 1].max()
            return bool(points[card, 1].min() > (low + high) / 2 + BROW * (high - low) / 2)
    return False


def _lower_edge(place: Doubles) -> Doubles:
    """The lower edge of a card (n, 3) in the column of each of its vertices and those beside it: (n, 3)."""
    column = np.floor(place[:, 0] / COLUMN).astype(np.int64)
    column -= column.min() - 1
    order = np.argsort(place[:, 1], kind="stable")[::-1]
    lowest = np.full(column.max() + 2, order[0])
    lowest[column[order]] = order  # of those in one column, the last
    beside = lowest[column[:, None] + [-1, 0, 1]]
    return place[np.take_along_axis(beside, place[beside, 1].argmin(axis=1)[:, None], axis=1)[:, 0]]
