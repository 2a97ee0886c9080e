"""Eyes that are no balls: found with what lies on them, sliding in the looks of their own side."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.discs import Disc, find_discs, slide_discs

POSES = ("eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeLookInRight", "eyeBlinkLeft", "jawOpen")


def ellipse(side: int, width: float, height: float, before: float = 0.0) -> NDArray[np.float64]:
    """A disc of two rings where an eye is, turned a little around the head."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = [share * np.column_stack([width * np.cos(turn), height * np.sin(turn)]) / 2 for share in (0.5, 1)]
    x, y = np.concatenate(rings).T
    return np.column_stack([side * (0.9 + x), 0.3 + y, before - 0.3 * x])


def found(*shapes: tuple[float, float]) -> tuple[NDArray[np.float64], list[Disc]]:
    places = [ellipse(side, *shape, 0.02 * i) for side in (1, -1) for i, shape in enumerate(shapes)]
    points = np.concatenate(places)
    return points, find_discs(points, list(np.arange(len(points)).reshape(len(places), -1)), [])


@pytest.mark.parametrize(
    ("shapes", "sliding"), [([(0.7, 0.7), (0.6, 0.4)], 2), ([(1.0, 1.0), (0.5, 0.75)], 1)]
)
def test_irises_slide_and_whites_stay(shapes: list[tuple[float, float]], sliding: int) -> None:
    points, discs = found(*shapes)
    assert [disc.eye.side for disc in discs] == ["Left", "Right"]
    assert all(len(disc.eye.vertices) == 96 and len(disc.iris) == 48 * sliding for disc in discs)
    moved = np.full((len(POSES), len(points), 3), 0.3, np.float32)
    slide_discs(moved, POSES, discs)
    left, right = discs
    for pose, disc, way in ((0, left, [-1, 0]), (1, left, [1, 0]), (2, left, [0, 1]), (3, right, [1, 0])):
        motion = moved[pose, disc.iris]
        assert (motion == motion[0]).all() and motion[0, :2] @ way > 0.05
        # Along its plane: it neither cuts into the head nor comes out.
        assert motion[0] @ disc.normal == pytest.approx(0, abs=1e-6) and disc.normal[2] > 0.9
        others = np.setdiff1d(np.arange(len(points)), disc.iris)
        assert not moved[pose, others].any()
    assert not moved[4:].any()


def test_both_eyes_mirror_each_other() -> None:
    points, discs = found((0.7, 0.7))
    moved = np.zeros((len(POSES), len(points), 3), np.float32)
    slide_discs(moved, POSES, discs)
    assert moved[0, discs[0].iris] * [-1, 1, 1] == pytest.approx(moved[3, discs[1].iris], abs=1e-6)


@pytest.mark.parametrize("shape", [(0.2, 0.2), (1.9, 1.8), (1.2, 0.3)])
def test_beads_goggles_and_lashes_are_no_eyes(shape: tuple[float, float]) -> None:
    assert not found(shape)[1]
