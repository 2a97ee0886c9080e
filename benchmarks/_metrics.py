"""Displacement error of rigs, pooled over vertices, shapes and heads without keeping every error.

Axis legend: P poses, V vertices.

The measure (that of TopoRig, 2026): with true and predicted displacements in mm of a head 240 mm tall, the
Euclidean error over the vertices that move more than 0.01 mm in the truth. Its mean is MAE, its 95th
percentile Q95.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES

__all__ = ["BIN", "GAZE", "HEAD_HEIGHT", "MOVING", "Score", "Tally", "on_open_jaw"]

HEAD_HEIGHT = 240.0  # mm
MOVING = 0.01  # mm
# Q95 comes from a histogram: exact to one bin. What is beyond the last bin counts as being in it.
BIN, BINS = 1e-3, 64_000  # mm, and 64 mm in all
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
    count : moving vertices, over all heads and poses.
    """

    mae: float
    q95: float
    still_mae: float
    still_q95: float
    ratio: float
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
        for pose, (guess, goal) in enumerate(zip(predicted, truth, strict=True)):
            motion = np.linalg.norm(goal.astype(np.float64), axis=1) * millimetres
            moving = motion > MOVING
            motion = motion[moving]
            error = np.linalg.norm(guess[moving].astype(np.float64) - goal[moving], axis=1) * millimetres
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
            return Score(*[float("nan")] * 5, count=0)
        return Score(
            mae=error / count,
            q95=_quantile(self._error_bins[rows].sum(axis=0), 0.95),
            still_mae=motion / count,
            still_q95=_quantile(self._motion_bins[rows].sum(axis=0), 0.95),
            ratio=error / motion,
            count=count,
        )


def _histogram(values: NDArray[np.float64]) -> NDArray[np.int64]:
    # Clipped before the cast, which is undefined for what no integer can hold.
    bins = np.minimum(values / BIN, BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS)


def _quantile(histogram: NDArray[np.int64], share: float) -> float:
    """Middle of the bin that holds the least value which at least ``share`` of all values do not exceed."""
    total = np.cumsum(histogram)
    return float((np.searchsorted(total, share * total[-1]) + 0.5) * BIN)
