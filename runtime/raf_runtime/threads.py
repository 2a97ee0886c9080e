"""How many processor cores this process may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["usable_cores"]

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
