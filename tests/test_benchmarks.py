"""The measure of benchmarks/quality.py against a naive one that keeps every error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES

if TYPE_CHECKING:
    from benchmarks._metrics import BIN, GAZE, MOVING, SCALES, Score, Tally, on_open_jaw
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    from _metrics import BIN, GAZE, MOVING, SCALES, Score, Tally, on_open_jaw

Heads = list[tuple[NDArray[np.float32], NDArray[np.float32], float]]


@pytest.fixture(scope="module")
def heads() -> Heads:
    """Predicted and true displacements (3, V, 3) and scales; pose 1 moves few vertices, pose 2 none."""
    rng = np.random.default_rng(5)
    result: Heads = []
    for size in (400, 1300):
        truth = rng.normal(size=(3, size, 3)).astype(np.float32)
        truth[1, 20:] = 1e-6
        truth[2] = 0
        predicted = truth + (0.3 * rng.normal(size=truth.shape)).astype(np.float32)
        result.append((predicted, truth, float(rng.uniform(0.5, 3))))
    return result


@pytest.fixture(scope="module")
def tally(heads: Heads) -> Tally:
    result = Tally(3)
    for predicted, truth, millimetres in heads:
        result.add(predicted, truth, millimetres)
    return result


def naive(heads: Heads, poses: list[int]) -> Score:
    errors: list[float] = []
    motions: list[float] = []
    scaled: dict[int, NDArray[np.float64]] = {pose: np.zeros(len(SCALES)) for pose in poses}
    cosines: list[float] = []
    for predicted, truth, millimetres in heads:
        for pose in poses:
            if (millimetres * np.abs(truth[pose]) > MOVING).any():
                lengths = np.linalg.norm(predicted[pose]) * np.linalg.norm(truth[pose])
                cosines.append(float((predicted[pose] * truth[pose]).sum() / lengths))
            for guess, goal in zip(predicted[pose].astype(float), truth[pose].astype(float), strict=True):
                motion = float(np.sqrt(((millimetres * goal) ** 2).sum()))
                if motion > MOVING:
                    errors.append(float(np.sqrt(((millimetres * (guess - goal)) ** 2).sum())))
                    motions.append(motion)
                    scaled[pose] += [millimetres * float(np.linalg.norm(s * guess - goal)) for s in SCALES]
    mae, still = float(np.mean(errors)), float(np.mean(motions))
    # The least value that 95 % of all do not exceed; the histogram knows it to half a bin.
    q95, still_q95 = (float(np.quantile(x, 0.95, method="inverted_cdf")) for x in (errors, motions))
    scaled_ratio = sum(float(sums.min()) for sums in scaled.values()) / sum(motions)
    return Score(mae, q95, still, still_q95, mae / still, scaled_ratio, float(np.mean(cosines)), len(errors))


@pytest.mark.parametrize("poses", [[0], [1], [0, 1, 2]])
def test_scores_are_those_of_keeping_every_error(tally: Tally, heads: Heads, poses: list[int]) -> None:
    found, expected = tally.score(poses), naive(heads, poses)
    assert found.count == expected.count
    for name in ("mae", "still_mae", "ratio", "scaled_ratio", "cosine"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-5), name
    binned = found.q95, found.still_q95
    assert binned == pytest.approx((expected.q95, expected.still_q95), abs=0.51 * BIN)


def test_vertices_that_stay_do_not_count(tally: Tally) -> None:
    assert tally.score([1]).count == 40
    assert tally.score([2]).count == 0
    assert np.isnan(tally.score([2]).mae)


def test_a_rig_that_does_not_move_has_the_ratio_one(heads: Heads) -> None:
    still = Tally(3)
    for _, truth, millimetres in heads:
        still.add(np.zeros_like(truth), truth, millimetres)
    score = still.score([0, 1])
    assert score.ratio == score.scaled_ratio == pytest.approx(1)
    assert score.cosine == 0
    assert score.q95 == score.still_q95


def test_an_amplitude_of_its_own_costs_nothing_once_scaled(heads: Heads) -> None:
    weak = Tally(3)
    factors = np.array([SCALES[20], SCALES[40], 1.0], dtype=np.float32)[:, None, None]
    for _, truth, millimetres in heads:
        weak.add(truth / factors, truth, millimetres)
    score = weak.score([0, 1])
    assert score.ratio > 0.2
    assert score.scaled_ratio < 1e-5
    assert score.cosine == pytest.approx(1)
    assert weak.scale(0) == SCALES[20]
    assert weak.scale(1) == SCALES[40]


def test_the_scale_serves_all_heads_and_is_not_fitted_to_each() -> None:
    truth = np.ones((1, 4, 3), dtype=np.float32)
    pooled = Tally(1)
    pooled.add(2 * truth, truth, 1.0)
    pooled.add(np.float32(0.5) * truth, truth, 1.0)
    assert pooled.score([0]).scaled_ratio > 0.3


def test_errors_beyond_the_histogram_count_in_the_mean_and_do_not_fail() -> None:
    far = Tally(1)
    truth = np.ones((1, 4, 3), dtype=np.float32)
    far.add(1e20 * truth, truth, 1.0)
    assert far.score([0]).mae > 1e20
    assert far.score([0]).q95 == pytest.approx(64, abs=BIN)


def test_mouth_close_is_scored_on_the_open_jaw() -> None:
    rng = np.random.default_rng(6)
    displacements = rng.normal(size=(len(ARKIT_POSES), 5, 3)).astype(np.float32)
    before = displacements.copy()
    result = on_open_jaw(displacements)
    close, jaw = ARKIT_POSES.index("mouthClose"), ARKIT_POSES.index("jawOpen")
    assert np.array_equal(result[close], before[close] + before[jaw])
    others = [i for i in range(len(ARKIT_POSES)) if i != close]
    assert np.array_equal(result[others], before[others])
    assert np.array_equal(displacements, before)


def test_eight_gaze_shapes() -> None:
    assert len(GAZE) == 8
    assert set(GAZE) < set(ARKIT_POSES)
