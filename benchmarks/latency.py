"""How long one rig takes, stage by stage and whole, warm and cold, beside the reference pipeline in one run.

    python benchmarks/latency.py --out latency.json [--head HEAD] [--ict DATA_DIR] [--scan] [--full-reference]
    python benchmarks/latency.py --out latency.json --scaling [--plot scaling.png]
    python benchmarks/latency.py --out latency.json --target m2-max-cpu

Without ``--head`` and ``--ict`` the head that the package ships is measured. Whole rigs go from the file on
disk to displacements in memory; the cold process also starts Python, loads the model and writes a GLB, without the
cache of prepared heads. The reference (see _reference.py) runs a few of its 52 passes, and the rest are counted with
their median: ``--full-reference`` runs them all. Leave OMP_NUM_THREADS unset, or the reference has fewer threads than
ONNX Runtime, which takes all cores; ``taskset`` limits both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from _cold import RAF, run_cold
from _heads import write_ict, write_scan
from _plot import plot_scaling
from _reference import measure_reference
from _report import about, table, write_json
from _scaling import measure_scaling, percentiles
from _stages import NETWORK, WHOLE, measure_warm
from _targets import AVERAGE_VERTICES, TARGETS

import raf_sdk
from raf_runtime.frame import estimate_frame
from raf_runtime.surface import Surface
from raf_sdk.io import read_mesh

SHIPPED = Path(raf_sdk.__file__).parent / "data" / "model.onnx"
IMPORT = """
import sys, time
start = time.perf_counter()
import raf_sdk
print(time.perf_counter() - start, 'torch' in sys.modules)
"""
DEVICES = ("cpu", "cuda", "tensorrt", "coreml")
# A scan of a million vertices, and what its growth is measured from.
SCAN, SMALL_SCAN = 2_000_000, 50_000


def measure_head(name: str, path: Path, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Everything about one head, printed and returned."""
    mesh = read_mesh(path)
    title = f"{name}: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles"
    # First, while nothing else of this process keeps the machine busy.
    cold = [cold_rig(path, folder / "rig.glb", options.model) for _ in range(options.cold)]
    times = measure_warm(options.model, path, options.repeats)
    rows = [[stage, *_summary(seconds)] for stage, seconds in times.items()]
    if cold:
        rows.append(["raf rig, cold process, to GLB", *_summary([seconds for seconds, _ in cold])])
    table(f"{title}; seconds", ["stage", "median", "least", "most"], rows)
    print(f"{np.median(times[NETWORK]) / np.median(times[WHOLE]):.0%} of the whole rig is the network")
    peak = max((peak for _, peak in cold), default=None)
    if peak is not None:
        print(f"peak memory of the cold process: {peak / 1e6:,.0f} MB")
    report: dict[str, object] = {
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.faces),
        "warm_seconds": times,
        "cold_seconds": [seconds for seconds, _ in cold],
        "cold_peak_bytes": peak,
    }
    if options.passes:
        report["reference"] = compare(mesh, float(np.median(times[WHOLE])), options.passes)
    return report


def compare(mesh: raf_sdk.Mesh, ours: float, passes: int) -> dict[str, object]:
    """Run the reference pipeline on a head and print how many times longer it takes."""
    surface = Surface.build(mesh.vertices, mesh.faces)
    points = estimate_frame(surface.vertices, surface.faces, component=surface.component).to_canonical(
        surface.vertices
    )
    reference = measure_reference(points, surface.faces, passes)
    one = float(np.median(reference.passes))
    count = len(reference.passes)
    how = "all run" if count == reference.poses else f"{count} run, the rest by median"
    rows = [
        ["Laplacian", f"{reference.laplacian:.3f}"],
        ["exact eigenbasis (SciPy)", f"{reference.eigenbasis:.3f}"],
        ["gradients", f"{reference.gradients:.3f}"],
        ["one pass of the paper's network", f"{one:.3f}"],
        [f"whole rig, {reference.poses} passes ({how})", f"{reference.total:.3f}"],
    ]
    table(f"reference pipeline, torch on {reference.threads} threads; seconds", ["stage", "seconds"], rows)
    ratio = reference.total / ours
    print(f"RATIO: rigger.rig(path) is {ratio:.1f} times faster than the reference in the same run")
    return {**asdict(reference), "total_seconds": reference.total, "ratio": ratio}


def cold_rig(head: Path, rig: Path, model: Path) -> tuple[float, float]:
    """Seconds and peak bytes of ``raf rig`` in a process of its own."""
    return run_cold([*RAF, "rig", str(head), "-o", str(rig), "--model", str(model), "--no-cache"])


def measure_import(repeats: int) -> dict[str, object]:
    """Seconds that ``import raf_sdk`` takes in a fresh process, and whether it loaded torch."""
    command = [sys.executable, "-c", IMPORT]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(repeats)]
    words = [run.stdout.split() for run in runs]
    seconds, torch = [float(word[0]) for word in words], any(word[1] == "True" for word in words)
    loaded = "loaded" if torch else "not loaded"
    table("fresh process; seconds", ["", "median", "least", "most"], [["import raf_sdk", *_summary(seconds)]])
    print(f"torch is {loaded}")
    return {"seconds": seconds, "torch_loaded": torch}


def measure_scan(head: Path, triangles: int, folder: Path, model: Path) -> list[dict[str, object]]:
    """Make a small and a large scan of a head, rig each in a process of its own, and print how time grows."""
    report: list[dict[str, object]] = []
    rows: list[list[str]] = []
    for wanted in (SMALL_SCAN, triangles):
        scan = folder / "scan.ply"
        count = write_scan(read_mesh(head), wanted, scan)
        vertices = len(read_mesh(scan).vertices)
        seconds, peak = cold_rig(scan, folder / "scan.glb", model)
        report.append({"vertices": vertices, "triangles": count, "seconds": seconds, "peak_bytes": peak})
        per_vertex = f"{1e6 * seconds / vertices:.1f}"
        rows.append([f"{vertices:,} vertices", f"{seconds:.1f}", per_vertex, f"{peak / 1e6:,.0f}"])
    table(
        f"scans made from {head.name}, PLY to GLB, cold processes",
        ["", "seconds", "microseconds a vertex", "peak MB"],
        rows,
    )
    return report


def measure_devices(path: Path, model: Path, repeats: int) -> dict[str, object]:
    """Seconds of whole rigs on every device that can be had here, and why not on the others."""
    report: dict[str, object] = {}
    rows: list[list[str]] = []
    for device in DEVICES:
        try:
            rigger = raf_sdk.Rigger(model, device)
        except raf_sdk.DeviceError as error:
            report[device] = str(error)
            rows.append([device, "cannot be had", "", ""])
            continue
        seconds = time_rigs(rigger, path, repeats)
        report[device] = seconds
        rows.append([device, *_summary(seconds)])
    table(f"rigger.rig(path) of {path.stem} by device; seconds", ["", "median", "least", "most"], rows)
    return report


def measure_target(name: str, head: Path, model: Path, repeats: int, folder: Path) -> dict[str, object]:
    """Rig the average test head; the verdict is None unless this is the machine that the target is of."""
    target = TARGETS[name]
    path = folder / "average.ply"
    write_scan(read_mesh(head), 2 * AVERAGE_VERTICES, path)
    judged = target.is_here()
    rigger = raf_sdk.Rigger(model, target.device if judged else "auto")
    p50, p95 = percentiles(time_rigs(rigger, path, repeats))
    verdict = p50 <= target.seconds if judged else None
    said = {True: "met", False: "MISSED", None: f"no verdict: this machine is no {target.machine}"}[verdict]
    print(
        f"\n{name}: {p50:.3f} s (p95 {p95:.3f} s) on {rigger.device} for {AVERAGE_VERTICES:,} vertices, "
        f"target {target.seconds} s: {said}"
    )
    return {
        "target": name,
        "seconds": target.seconds,
        "device": rigger.device,
        "p50": p50,
        "p95": p95,
        "met": verdict,
    }


def time_rigs(rigger: raf_sdk.Rigger, path: Path, repeats: int) -> list[float]:
    """Seconds of so many whole rigs, after one that is not counted."""
    rigger.rig(path)
    seconds: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        rigger.rig(path)
        seconds.append(time.perf_counter() - start)
    return seconds


def _summary(seconds: Sequence[float]) -> list[str]:
    return [f"{value:.3f}" for value in (np.median(seconds), min(seconds), max(seconds))]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure the time and memory of a rig.")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--head", type=Path, nargs="+", default=[], help="meshes to measure on")
    parser.add_argument("--ict", type=Path, metavar="DATA_DIR", help="also on ICT, whole and skin only")
    parser.add_argument("--model", type=Path, default=SHIPPED, help="default: the one that is shipped")
    parser.add_argument("--repeats", type=int, default=10, help="warm rigs per head (default: 10)")
    parser.add_argument("--cold", type=int, default=3, help="cold processes per head (default: 3)")
    parser.add_argument("--passes", type=int, default=3, help="of the reference; 0: none (default: 3)")
    parser.add_argument("--full-reference", dest="passes", action="store_const", const=52)
    parser.add_argument(
        "--scan",
        type=int,
        nargs="?",
        const=SCAN,
        metavar="TRIANGLES",
        help="also scans (2,000,000 triangles)",
    )
    parser.add_argument(
        "--scaling",
        type=int,
        nargs="?",
        const=12,
        metavar="HEADS",
        help="also heads of 2k to 100k vertices (12)",
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw what --scaling measures")
    parser.add_argument(
        "--target", choices=TARGETS, help="only judge a published time; exit 1 where it is missed"
    )
    options = parser.parse_args()

    described = about(options.model)
    report: dict[str, object] = {"about": described}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        example = stack.enter_context(as_file(files("raf_sdk") / "data" / "example_head.obj"))
        base = (options.head or [example])[0]
        if options.target:
            judged = measure_target(options.target, base, options.model, options.repeats, folder)
            write_json(options.out, report | judged)
            sys.exit(1 if judged["met"] is False else 0)
        report["import"] = measure_import(max(options.cold, 1))
        heads = {path.stem: path for path in options.head}
        if options.ict:
            heads |= write_ict(options.ict, folder)
        heads = heads or {"example head": example}
        report["heads"] = {name: measure_head(name, path, folder, options) for name, path in heads.items()}
        report["devices"] = measure_devices(base, options.model, options.repeats)
        if options.scaling:
            points = measure_scaling(
                base, options.model, options.scaling, options.repeats, options.passes, folder
            )
            report["scaling"] = [asdict(point) for point in points]
            if options.plot:
                plot_scaling(options.plot, points, "{processor}, {usable_cpus} CPUs".format(**described))
        if options.scan:
            report["scan"] = measure_scan(base, options.scan, folder, options.model)
    write_json(options.out, report)


if __name__ == "__main__":
    main()
