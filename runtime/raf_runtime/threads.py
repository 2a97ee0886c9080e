"""How many processor cores this process may use, and who uses them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import threadpoolctl

__all__ = ["blas_on_one_thread", "two_at_a_time", "usable_cores"]

Item = TypeVar("Item")

_TOPOLOGY: Final = Path("/sys/devices/system/cpu")
_CONTROL_GROUP: Final = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Physical cores within the limits of the process: affinity, and the time that a container is given.

    Two hardware threads of one core count once: dense products keep both busy with the units that they share. Where
    the system does not say which threads those are, as on macOS and Windows, each counts.
    """
    if sys.platform != "linux":
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    cores = {_siblings(processor) for processor in allowed}
    return max(1, min(len(cores), _time_limit() or len(cores)))


@contextmanager
def blas_on_one_thread() -> Generator[None]:
    """Keep NumPy's and SciPy's linear algebra to the thread that calls it.

    The matrices of a head are too small to share, and the threads that wait for the next one keep cores busy that the
    network and our own threads want: on two cores a rig takes a tenth to a third less time without them. Settings of
    the process come back when the last of those who use this at the same time is done.
    """
    _one_thread.enter()
    try:
        yield
    finally:
        _one_thread.leave()


def two_at_a_time(function: Callable[[Item], None], items: Sequence[Item]) -> None:
    """Do the same with each item, in two threads that share them evenly.

    For work on large arrays, during which NumPy and SciPy let other threads run.
    """

    def each(some: Sequence[Item]) -> None:
        for item in some:
            function(item)

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(each, items[1::2])
        each(items[::2])
        others.result()


class _OneThread:
    """Counts who wants one thread: of two that overlap, the first to end must not undo the other's limit."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limit: Any = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._limit = _libraries().limit(limits=1, user_api="blas")

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._limit.restore_original_limits()


_one_thread: Final = _OneThread()


@cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """The libraries that are loaded; looking for them takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def _siblings(processor: int) -> str:
    """The hardware threads of a processor's core, as Linux lists them."""
    try:
        return (_TOPOLOGY / f"cpu{processor}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(processor)


def _time_limit() -> int | None:
    """Cores whose time the control group is given, rounded up, or None (Linux, "Control Group v2", cpu.max)."""
    try:
        quota, period = (_CONTROL_GROUP / "cpu.max").read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return None
