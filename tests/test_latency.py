"""What benchmarks/latency.py judges, and that its steps are those of a rig."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import raf_sdk

if TYPE_CHECKING:
    from benchmarks import latency
    from benchmarks._plot import plot_scaling
    from benchmarks._scaling import Point
    from benchmarks._stages import NETWORK, WHOLE, measure_warm
    from benchmarks._targets import TARGETS
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    import latency
    from _plot import plot_scaling
    from _scaling import Point
    from _stages import NETWORK, WHOLE, measure_warm
    from _targets import TARGETS

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"


def test_the_published_times() -> None:
    assert {name: target.seconds for name, target in TARGETS.items()} == {"m2-max-cpu": 8.72, "t4": 3.1}


@pytest.mark.parametrize(
    ("here", "seconds", "status", "met"),
    [(True, 0.0, 1, False), (True, 1e9, 0, True), (False, 0.0, 0, None), (False, 1e9, 0, None)],
)
def test_only_the_machine_of_a_target_is_judged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    here: bool,
    seconds: float,
    status: int,
    met: bool | None,
) -> None:
    target = replace(TARGETS["m2-max-cpu"], seconds=seconds, is_here=lambda: here)
    monkeypatch.setitem(latency.TARGETS, "m2-max-cpu", target)
    monkeypatch.setattr(latency, "AVERAGE_VERTICES", 600)
    out = tmp_path / "latency.json"
    command = ["latency.py", "--out", str(out), "--target", "m2-max-cpu", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stopped:
        latency.main()
    assert stopped.value.code == status
    report: dict[str, Any] = json.loads(out.read_text())
    assert report["met"] is met and 0 < report["p50"] <= report["p95"]
    assert report["about"]["commit"] and report["about"]["processor"] and report["about"]["packages"]["numpy"]
    assert ("no verdict" in capsys.readouterr().out) is (not here)


def test_the_steps_are_those_of_a_rig() -> None:
    times = measure_warm(latency.SHIPPED, EXAMPLE, 1)  # ends the process where they differ
    assert {"read file", "canonical frame", "spectral basis", NETWORK, "finish", WHOLE} <= set(times)
    assert all(len(seconds) == 1 and seconds[0] > 0 for seconds in times.values())


def test_the_plot_also_where_the_others_are_not_measured(tmp_path: Path) -> None:
    sizes = np.array([2_000, 20_000, 100_000])
    points = [Point(int(size), [size * 1e-5, size * 2e-5], [size * 5e-6], None, None) for size in sizes]
    plot_scaling(tmp_path / "without.png", points, "a machine")
    plot_scaling(tmp_path / "with.png", [replace(p, reference=9.0, paper=5.0) for p in points], "a machine")
    without, with_others = ((tmp_path / name).read_bytes() for name in ("without.png", "with.png"))
    assert without[:4] == with_others[:4] == b"\x89PNG" and without != with_others
