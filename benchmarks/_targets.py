"""Published times to stand beside, each on the machine that it was published for.

RigAnyFace (Ma et al., NeurIPS 2025) takes 8.72 s for a rig on the CPU of an Apple M2 Max and 3.1 s on an Nvidia T4, on
the average of its test heads. How many vertices these have it does not say: here the average test head has 20,000.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["AVERAGE_VERTICES", "TARGETS", "Target"]

AVERAGE_VERTICES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """Seconds that a rig may take, the device that it is made on, and whether this is the machine meant."""

    seconds: float
    device: str
    machine: str
    is_here: Callable[[], bool]


def _is_m2_max() -> bool:
    return (
        platform.system() == "Darwin" and _says("sysctl", "-n", "machdep.cpu.brand_string") == "Apple M2 Max"
    )


def _has_t4() -> bool:
    names = _says("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines()
    return any(name.split()[-1:] == ["T4"] for name in names)


def _says(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


TARGETS: Final = {
    "m2-max-cpu": Target(8.72, "cpu", "Apple M2 Max", _is_m2_max),
    "t4": Target(3.1, "cuda", "Nvidia T4", _has_t4),
}
