"""Cards before the skin ride on it where they are left behind, and only there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.cards import Cards
from raf_runtime.eyes import Eye

POSES = ("browInnerUp", "eyeBlinkLeft", "eyeBlinkRight", "jawOpen")
GRID = np.stack(np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-2, 2, 41)), axis=-1).reshape(-1, 2)
SKIN = np.column_stack([GRID, np.zeros(len(GRID))])
RISE, DROP = 0.2, 0.6
SIDES = (("Left", 1), ("Right", -1))
LASHES, BROW = (0.38, 0.6), (0.95, 1.1)


def card(side: int, heights: tuple[float, float], gap: float = 0.1) -> NDArray[np.float64]:
    """A strip of two rows over the eye of one side."""
    along = side * np.linspace(0.5, 1.3, 9)
    return np.concatenate(
        [np.column_stack([along, np.full(9, height), np.full(9, gap)]) for height in heights]
    )


def disc(side: int) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return np.column_stack([0.9 * side + 0.35 * np.cos(turn), 0.3 + 0.35 * np.sin(turn), np.full(16, -0.1)])


class Face:
    """A flat face, whose brow rises above 0.8 and whose lids drop around 0.6, and parts on it that stay."""

    def __init__(self, *parts: NDArray[np.float64]) -> None:
        self.points = np.concatenate([SKIN, *parts])
        ends = np.cumsum([len(SKIN), *map(len, parts)])
        self.parts = [np.arange(start, end) for start, end in pairwise(ends)]
        self.moved = np.zeros((len(POSES), len(self.points), 3), np.float32)
        x, y, _ = SKIN.T
        self.moved[0, : len(SKIN), 1] = np.where(y > 0.8, RISE, 0.05)
        for row, sign in ((1, 1), (2, -1)):
            self.moved[row, : len(SKIN), 1] = np.where((sign * x > 0.2) & (np.abs(y - 0.6) < 0.11), -DROP, 0)
        self.moved[3] = 0

    def ride(self, eyes: list[Eye] | None = None) -> Cards:
        points = np.concatenate([self.points, disc(1), disc(-1)])
        ends = np.arange(len(self.points), len(points)).reshape(2, -1)
        flat = [Eye(end, points[end].mean(axis=0), name) for end, (name, _) in zip(ends, SIDES, strict=True)]
        cards = Cards.find(points, self.parts, np.arange(len(SKIN)), eyes or [], flat)
        cards.ride(self.moved, POSES)
        return cards


def test_brows_ride_on_the_skin_but_not_in_blinks() -> None:
    face = Face(card(1, BROW), card(-1, BROW))
    face.ride()
    for part in face.parts:
        assert face.moved[0, part] == pytest.approx(np.tile([0, RISE, 0], (len(part), 1)), abs=1e-6)
        assert not face.moved[1:, part].any()


def test_lashes_go_with_the_border_of_their_lid_and_keep_their_height() -> None:
    face = Face(card(1, LASHES), card(-1, LASHES))
    face.ride()
    left, right = face.parts
    assert face.moved[1, left] == pytest.approx(np.tile([0, -DROP, 0], (len(left), 1)), abs=1e-6)
    assert not face.moved[1, right].any() and not face.moved[2, left].any()
    assert face.moved[2, right, 1] == pytest.approx(-DROP)


def test_cards_that_the_network_moves_are_left_to_it() -> None:
    face = Face(card(1, BROW), card(-1, BROW))
    face.moved[0, face.parts[0], 1] = face.moved[0, face.parts[1], 1] = 0.7 * RISE
    before = face.moved.copy()
    face.ride()
    assert np.array_equal(face.moved, before)


@pytest.mark.parametrize(
    "parts",
    [
        [card(1, BROW)],  # nothing like it on the other side
        [card(1, BROW, gap=0.5), card(-1, BROW, gap=0.5)],  # goggles
        [card(1, (1.0, 1.9)), card(-1, (1.0, 1.9))],  # a fringe
        [np.concatenate([card(1, BROW), card(-1, BROW)])],  # a hairband
    ],
)
def test_what_is_no_pair_of_cards_stays(parts: list[NDArray[np.float64]]) -> None:
    face = Face(*parts)
    before = face.moved.copy()
    assert len(face.ride().vertices) == 0
    assert np.array_equal(face.moved, before)


def test_lenses_before_eyeballs_stay() -> None:
    face = Face(card(1, LASHES), card(-1, LASHES))
    balls = [
        Eye(part, face.points[part].mean(axis=0) - [0, 0, 0.3], name)
        for part, (name, _) in zip(face.parts, SIDES, strict=True)
    ]
    assert len(face.ride(balls).vertices) == 0


def test_cards_of_many_vertices_take_no_more_memory_than_they_have() -> None:
    dense = [np.repeat(card(side, BROW), 3000, axis=0) for side in (1, -1)]
    face = Face(*dense)
    face.ride()
    assert face.moved[0, face.parts[0], 1] == pytest.approx(RISE)
