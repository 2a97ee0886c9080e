"""Lids stay outside their eyeball in a blink and a look down, and all else is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from raf_runtime import lids
from raf_runtime.eyes import Eye
from raf_runtime.lids import CLEAR, SPREAD, keep_outside

CENTRE, RADIUS = np.array([0.75, 0.5, -0.25]), 0.32
POSES = ("eyeBlinkLeft", "eyeSquintLeft", "jawOpen", "eyeLookDownLeft")


def lid() -> NDArray[np.float64]:
    """A strip of the upper lid around the ball, from its edge to the brow."""
    height, turn = np.meshgrid(np.radians(np.linspace(15, 60, 12)), np.radians(np.linspace(-50, 50, 15)))
    directions = np.stack([np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)], -1)
    return 1.02 * RADIUS * directions.reshape(-1, 3)


def test_a_blink_goes_around_the_ball() -> None:
    ball = trimesh.creation.icosphere(4, radius=RADIUS).vertices
    points = np.concatenate([ball, lid()]) + CENTRE
    eye = Eye(np.arange(len(ball)), CENTRE, "Left")
    skin = np.arange(len(ball), len(points))
    moved = np.zeros((len(POSES), len(points), 3), np.float32)
    # Straight down to the lower lid: halfway of it the lid is inside the ball.
    moved[:2, skin, 1] = -0.25 * (points[skin, 1] > CENTRE[1])
    moved[2, skin, 2] = -0.1
    before = moved.copy()
    keep_outside(points, moved, POSES, [eye], skin)
    far = np.linalg.norm(points[skin] + moved[0, skin] - CENTRE, axis=1)
    inside = np.linalg.norm(points[skin] + before[0, skin] - CENTRE, axis=1) < RADIUS
    assert inside.sum() > 20
    # Up to the facets of the ball.
    assert far.min() > (1 + 0.9 * CLEAR[0]) * RADIUS
    # What is far from there stays; what is near is lifted along, outwards, and the less the further it is.
    place = points[skin] + before[0, skin] - CENTRE
    apart = KDTree(place[inside]).query(place)[0]
    lift = moved[0, skin] - before[0, skin]
    height = np.linalg.norm(lift, axis=1)
    assert height[apart > 2 * SPREAD * RADIUS].max() < 0.02 * height.max()
    around = (apart > 0) & (height > 1e-4)
    assert around.sum() > 5 and height[around].max() < height.max()
    assert np.einsum("nc,nc->n", lift, place)[around] == pytest.approx(
        height[around] * np.linalg.norm(place[around], axis=1), rel=1e-2
    )
    # Nothing is done in other shapes, nor to the ball.
    assert np.array_equal(moved[1:], before[1:])
    assert not moved[:, : len(ball)].any()


def test_tables_of_distances_are_no_larger_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = trimesh.creation.icosphere(4, radius=RADIUS).vertices
    points = np.concatenate([ball, lid()]) + CENTRE
    skin = np.arange(len(ball), len(points))
    whole = np.zeros((len(POSES), len(points), 3), np.float32)
    whole[0, skin, 1] = -0.25
    blocks, sizes = whole.copy(), list[int]()

    def watched(a: NDArray[np.float64], b: NDArray[np.float64], metric: str) -> NDArray[np.floating]:
        assert metric == "sqeuclidean"
        sizes.append(len(a) * len(b))
        return cdist(a, b, "sqeuclidean")

    eyes = [Eye(np.arange(len(ball)), CENTRE, "Left")]
    keep_outside(points, whole, POSES, eyes, skin)
    monkeypatch.setattr(lids, "TABLE_VALUES", 500)
    monkeypatch.setattr(lids.distance, "cdist", watched)
    keep_outside(points, blocks, POSES, eyes, skin)
    assert np.array_equal(whole, blocks)
    assert len(sizes) > 5 and max(sizes) <= 500


def test_where_nothing_moves_nothing_is_lifted() -> None:
    ball = trimesh.creation.icosphere(3, radius=RADIUS).vertices
    points = np.concatenate([ball, lid()]) + CENTRE
    moved = np.zeros((len(POSES), len(points), 3), np.float32)
    keep_outside(
        points, moved, POSES, [Eye(np.arange(len(ball)), CENTRE, "Left")], np.arange(len(ball), len(points))
    )
    assert not moved.any()


def test_what_is_inside_at_rest_may_stay_there() -> None:
    ball = trimesh.creation.icosphere(3, radius=RADIUS).vertices
    points = np.concatenate([ball, 0.9 * lid()]) + CENTRE
    skin = np.arange(len(ball), len(points))
    moved = np.zeros((len(POSES), len(points), 3), np.float32)
    moved[0, skin, 1] = -0.1
    before = moved.copy()
    keep_outside(points, moved, POSES, [Eye(np.arange(len(ball)), CENTRE, "Left")], skin)
    assert np.array_equal(moved, before)


def test_a_look_down_goes_around_the_turned_ball() -> None:
    ball = trimesh.creation.icosphere(4, radius=RADIUS).vertices
    # A cornea in front of it, which turns away from under the upper lid.
    cornea = ball[:, 2] > 0.9 * RADIUS
    ball[cornea] *= 1.08
    points = np.concatenate([ball, 1.08 * lid()]) + CENTRE
    skin = np.arange(len(ball), len(points))
    moved = np.zeros((len(POSES), len(points), 3), np.float32)
    turn = Rotation.from_euler("x", 25, degrees=True).as_matrix()
    moved[3, : len(ball)] = ball @ turn.T - ball
    moved[3, skin, 1] = -0.15
    before = moved.copy()
    keep_outside(points, moved, POSES, [Eye(np.arange(len(ball)), CENTRE, "Left")], skin)
    turned = ball @ turn.T
    radii = np.linalg.norm(turned, axis=1)
    directions = KDTree(turned / radii[:, None])

    def depth(shape: NDArray[np.float32]) -> float:
        place = points[skin] + shape[skin] - CENTRE
        far = np.linalg.norm(place, axis=1)
        return float((radii[directions.query(place / far[:, None])[1]] - far).max())

    assert depth(before[3]) > 0.1 * RADIUS
    assert depth(moved[3]) < 0
    assert np.array_equal(moved[3, : len(ball)], before[3, : len(ball)])
    assert np.array_equal(moved[:3], before[:3])
