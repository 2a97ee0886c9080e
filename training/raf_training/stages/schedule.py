"""The learning rate and the order of the items: functions of the step alone, so that nothing needs to be resumed.

An item is one head with a few of its poses. An epoch visits every pose of every head once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from raf_training.errors import DataError

__all__ = ["Item", "Order", "cosine_restarts"]


def cosine_restarts(step: int, steps: int, warm_up: int, cycles: int) -> float:
    """Factor of the learning rate: a linear warm-up, then cosines that each fall from 1 to nearly 0.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017), cycles of equal length;
    the last one ends with the run.

    Raises
    ------
    DataError
        If the warm-up leaves no step for the cycles.
    """
    if steps <= warm_up:
        raise DataError(
            f"a run of {steps} steps is all warm-up ({warm_up} steps); give more samples or epochs, or the "
            "configuration `small`"
        )
    if step < warm_up:
        return (step + 1) / warm_up
    length = (steps - warm_up) / cycles
    return 0.5 * (1 + math.cos(math.pi * ((step - warm_up) % length) / length))


@dataclass(frozen=True, slots=True)
class Item:
    """A head, by number, and the rows of some of its poses."""

    head: int
    poses: tuple[int, ...]


class Order:
    """Which items every process learns from at every step.

    Parameters
    ----------
    poses : list of sequences of int
        Of every head, the rows of the poses that it has.
    at_once : int
        Poses of an item; the last one of a head may have fewer.
    seed : int
    """

    def __init__(self, poses: list[tuple[int, ...]], at_once: int, seed: int) -> None:
        self._poses, self._at_once, self._seed = poses, at_once, seed
        self._visits = [
            (head, visit) for head, rows in enumerate(poses) for visit in range(-(-len(rows) // at_once))
        ]
        if not self._visits:
            raise DataError("no head has any pose to learn from; check the samples' masks and the targets")
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def __len__(self) -> int:
        """Number of items in an epoch."""
        return len(self._visits)

    def __getitem__(self, index: int) -> Item:
        """Item of a place in the endless sequence of epochs."""
        epoch, place = divmod(index, len(self))
        head, visit = self._visits[int(self._shuffled(epoch)[place])]
        rows = np.random.default_rng([self._seed, 1, epoch, head]).permutation(self._poses[head])
        chosen = rows[visit * self._at_once : (visit + 1) * self._at_once]
        return Item(head, tuple(int(row) for row in chosen))

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, 0, epoch]).permutation(len(self))
