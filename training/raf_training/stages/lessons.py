"""What each process learns from at each step, read ahead by a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from raf_training.stages.heads import StageData, StageHead
from raf_training.stages.schedule import Order
from raf_training.stages.targets import Target

__all__ = ["Lesson", "lessons"]


@dataclass(frozen=True)
class Lesson:
    """One sample of a step: a head, rows of the poses to ask for and, of an unrigged head, their targets."""

    head: StageHead
    rows: tuple[int, ...]
    targets: list[Target] | None


def lessons(
    data: StageData, order: Order, steps: range, batch: int, rank: int = 0, processes: int = 1
) -> Iterator[list[Lesson]]:
    """Yield the samples of every step for one process; all processes together go through the order.

    Parameters
    ----------
    data : StageData
    order : Order
    steps : range
        Consecutive steps.
    batch : int
        Samples of a step in each process.
    rank, processes : int
        Which process this is, and of how many.
    """

    def read(step: int) -> list[Lesson]:
        first = (step * processes + rank) * batch
        result: list[Lesson] = []
        for item in (order[index] for index in range(first, first + batch)):
            head = data.head(item.head)
            targets = [data.target(item.head, row) for row in item.poses] if head.deltas is None else None
            result.append(Lesson(head, item.poses, targets))
        return result

    with ThreadPoolExecutor(1) as pool:
        ahead: Future[list[Lesson]] | None = None
        for step in steps:
            current = ahead or pool.submit(read, step)
            if step + 1 < steps.stop:
                ahead = pool.submit(read, step + 1)
            yield current.result()
