"""Strong warps: smooth, never folding, and a rig baked through one stays a rig."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raf_training.data.warp import bake, draw_warp

SEEDS = range(40)


def face_points(count: int = 400) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform([-2, -3, -2], [2, 3, 2], (count, 3))


def test_no_strength_changes_nothing() -> None:
    points = face_points()
    np.testing.assert_allclose(draw_warp(np.random.default_rng(3), strength=0.0)(points), points, atol=1e-12)


def test_equal_states_of_chance_give_equal_warps() -> None:
    first, again, other = (draw_warp(np.random.default_rng(seed))(face_points()) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_space_hardly_ever_folds() -> None:
    points, step = face_points(), 1e-4
    folded = []
    for seed in SEEDS:
        warp = draw_warp(np.random.default_rng(seed))
        columns = [
            (warp(points + step * axis) - warp(points - step * axis)) / (2 * step) for axis in np.eye(3)
        ]
        folded.append((np.linalg.det(np.stack(columns, axis=-1)) <= 0).mean())
    assert np.mean(folded) < 0.002


def test_features_of_the_face_move() -> None:
    points = face_points()
    moved = [
        np.linalg.norm(draw_warp(np.random.default_rng(seed))(points) - points, axis=1).mean()
        for seed in SEEDS
    ]
    assert 0.2 < np.mean(moved) < 1.0


def test_shapes_end_where_the_warp_carries_their_ends() -> None:
    points, warp = face_points(), draw_warp(np.random.default_rng(5))
    deltas = np.random.default_rng(1).normal(0, 0.2, (3, len(points), 3)).astype(np.float32)
    deltas[1] = 0
    deltas[2, ::2] = 0
    warped, baked = bake(warp, points, deltas)
    np.testing.assert_array_equal(warped, warp(points))
    np.testing.assert_allclose(warped + baked[0], warp(points + deltas[0]), atol=1e-5)
    assert not baked[1].any() and not baked[2, ::2].any()
    assert baked.dtype == np.float32
