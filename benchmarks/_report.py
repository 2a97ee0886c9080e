"""What both benchmarks share: tables, JSON, and on what and with what a figure was measured."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["about", "table", "write_json"]

_PACKAGES = ("raf-sdk", "numpy", "scipy", "onnxruntime", "torch")
_ROOT = Path(__file__).resolve().parents[1]


def about(model: Path | None) -> dict[str, object]:
    """Machine, threads, versions, commit and, if there is one, model behind the figures of this run."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "system": platform.platform(),
        "processor": _processor(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average_1min": os.getloadavg()[0],
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "python": platform.python_version(),
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest() if model else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text under a title: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in [header, *rows])
    ]
    print(f"\n{title}\n{lines[0]}\n{'-' * len(lines[0])}", *lines[1:], sep="\n")


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a report; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    print(f"\n{path}")


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
