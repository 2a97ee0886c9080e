"""Displacement error of rigs, pooled over vertices, shapes and heads without keeping every error.

Axis legend: P poses, V vertices.

The measure (that of TopoRig, 2026): with true and predicted displacements in mm of a head 240 mm tall, the
Euclidean error over the vertices that move more than 0.01 mm in the truth. Its mean is MAE, its 95th
percentile Q95.

Two figures more, because how far a "full" smile goes is each rig's own choice. The *scaled ratio* is what is
left of error / true motion once every predicted pose is multiplied by the one factor that makes its mean error
least; one factor per pose serves all heads of a tally (of one rig), it is not fitted to each head. The *cosine*
is that of the predicted and the true field as vectors of 3 V numbers, all vertices alike, averaged over poses
and heads; 0 where nothing is predicted to move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES

__all__ = ["BIN", "GAZE", "HEAD_HEIGHT", "MOVING", "SCALES", "Score", "Tally", "on_open_jaw"]

HEAD_HEIGHT = 240.0  # mm
MOVING = 0.01  # mm
# Q95 comes from a histogram: exact to one bin. What is beyond the last bin counts as being in it.
BIN, BINS = 1e-3, 64_000  # mm, and 64 mm in all
# The factors that the best is chosen from: 1/4 to 4 in steps of 5 %, 1 among them.
SCALES = 2.0 ** (np.arange(-28, 29) / 14)
GAZE = tuple(pose for pose in ARKIT_POSES if pose.startswith("eyeLook"))

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of some poses, in mm, beside those of a rig that does not move.

    Attributes
    ----------
    mae, q95 : mean and 95th percentile of the error.
    still_mae, still_q95 : the same for zero displacements, which is the true motion.
    ratio : ``mae / still_mae``; 1 is as good as not moving.
    scaled_ratio : ``ratio`` after the best factor for each pose.
    cosine : between predicted and true fields, mean over poses and heads.
    count : moving vertices, over all heads and poses.
    """

    mae: float
    q95: float
    still_mae: float
    still_q95: float
    ratio: float
    scaled_ratio: float
    cosine: float
    count: int


def on_open_jaw(displacements: Floats) -> Floats:
    """Replace ``mouthClose`` in (52, V, 3) by its sum with ``jawOpen``, which it is never used without."""
    result = displacements.copy()
    result[ARKIT_POSES.index("mouthClose")] += displacements[ARKIT_POSES.index("jawOpen")]
    return result


class Tally:
    """Errors of any number of heads, pose by pose."""

    def __init__(self, poses: int) -> None:
        self._count = np.zeros(poses, dtype=np.int64)
        self._error, self._motion = np.zeros(poses), np.zeros(poses)
        self._scaled_error = np.zeros((poses, len(SCALES)))
        self._cosine, self._fields = np.zeros(poses), np.zeros(poses, dtype=np.int64)
        self._error_bins = np.zeros((poses, BINS), dtype=np.int64)
        self._motion_bins = np.zeros((poses, BINS), dtype=np.int64)

    def add(self, predicted: Floats, truth: Floats, millimetres: float) -> None:
        """Count one head.

        Parameters
        ----------
        predicted, truth : (P, V, 3) float32
            Displacements in any unit.
        millimetres : float
            Of that unit, once the head is 240 mm tall.
        """
        for pose, fields in enumerate(zip(predicted, truth, strict=True)):
            guess, goal = (millimetres * field.astype(np.float64) for field in fields)
            motion = np.linalg.norm(goal, axis=1)
            moving = motion > MOVING
            if not moving.any():
                continue
            self._cosine[pose] += _cosine(guess, goal)
            self._fields[pose] += 1
            guess, goal, motion = guess[moving], goal[moving], motion[moving]
            error = np.linalg.norm(guess - goal, axis=1)
            self._scaled_error[pose] += _scaled_errors(guess, goal)
            self._count[pose] += len(error)
            self._error[pose] += error.sum()
            self._motion[pose] += motion.sum()
            self._error_bins[pose] += _histogram(error)
            self._motion_bins[pose] += _histogram(motion)

    def score(self, poses: Sequence[int]) -> Score:
        """Pool the moving vertices of some poses; all figures are NaN where nothing moves."""
        rows = list(poses)
        count = int(self._count[rows].sum())
        error, motion = float(self._error[rows].sum()), float(self._motion[rows].sum())
        if count == 0:
            return Score(*[float("nan")] * 7, count=0)
        return Score(
            mae=error / count,
            q95=_quantile(self._error_bins[rows].sum(axis=0), 0.95),
            still_mae=motion / count,
            still_q95=_quantile(self._motion_bins[rows].sum(axis=0), 0.95),
            ratio=error / motion,
            scaled_ratio=float(self._scaled_error[rows].min(axis=1).sum()) / motion,
            cosine=float(self._cosine[rows].sum() / self._fields[rows].sum()),
            count=count,
        )

    def scale(self, pose: int) -> float:
        """Tell the factor behind ``scaled_ratio`` of one pose."""
        return float(SCALES[self._scaled_error[pose].argmin()])


def _cosine(guess: NDArray[np.float64], goal: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(guess) * np.linalg.norm(goal))
    return float(np.vdot(guess, goal)) / lengths if lengths > 0 else 0.0


def _scaled_errors(guess: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the errors of ``guess`` times each of the scales, without a copy of it for each."""
    guess2, both, goal2 = (
        np.einsum("vc,vc->v", a, b) for a, b in ((guess, guess), (guess, goal), (goal, goal))
    )
    return np.array(
        [np.sqrt(np.maximum(s * s * guess2 - 2 * s * both + goal2, 0)).sum() for s in SCALES.tolist()]
    )


def _histogram(values: NDArray[np.float64]) -> NDArray[np.int64]:
    # Clipped before the cast, which is undefined for what no integer can hold.
    bins = np.minimum(values / BIN, BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def _quantile(histogram: NDArray[np.int64], share: float) -> float:
    """Middle of the bin that holds the least value which at least ``share`` of all values do not exceed."""
    total = np.cumsum(histogram)
    return float((np.searchsorted(total, share * total[-1]) + 0.5) * BIN)
