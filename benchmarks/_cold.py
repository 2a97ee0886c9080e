"""Run a command as a process of its own; measure its wall time and peak memory.

A process inherits the peak of the one that started it, and the benchmark's own is large. So this file is run
as a small process in between. Linux and macOS.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

__all__ = ["RAF", "run_cold"]

# The `raf` command of this very interpreter, installed or not.
RAF = (sys.executable, "-c", "import sys; from raf_sdk._cli import main; sys.exit(main())")


def run_cold(command: Sequence[str]) -> tuple[float, float]:
    """Wall time in seconds and peak resident memory in bytes of a command.

    Raises
    ------
    CalledProcessError
        If the command fails.
    """
    launched = subprocess.run(
        [sys.executable, __file__, *command], stdout=subprocess.PIPE, check=True, text=True
    )
    seconds, peak = json.loads(launched.stdout)
    return seconds, peak


def _launch(command: Sequence[str]) -> None:
    start = time.perf_counter()
    result = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - start
    if result.returncode:
        sys.exit(result.returncode)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    print(json.dumps([seconds, peak if sys.platform == "darwin" else 1024 * peak]))


if __name__ == "__main__":
    _launch(sys.argv[1:])
