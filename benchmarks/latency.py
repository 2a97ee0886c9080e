"""How long one rig takes, stage by stage and whole, warm and cold, beside the reference pipeline in one run.

    python benchmarks/latency.py --out latency.json [--head HEAD] [--ict DATA_DIR] [--scan] [--full-reference]

Without ``--head`` and ``--ict`` the head that the package ships is measured. Whole rigs go from the file on
disk to displacements in memory; the cold process also starts Python, loads the model and writes a GLB. The
reference (see _reference.py) runs a few of its 52 passes, and the rest are counted with their median:
``--full-reference`` runs them all. Leave OMP_NUM_THREADS unset, or the reference has fewer threads than ONNX
Runtime, which takes all cores; ``taskset`` limits both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from _cold import RAF, run_cold
from _heads import write_ict, write_scan
from _reference import measure_reference
from _report import about, table, write_json
from tqdm import tqdm

import raf_sdk
from raf_runtime.coarse import Coarse
from raf_runtime.frame import estimate_frame
from raf_runtime.head import LARGE, PreparedHead
from raf_runtime.operators import Operators, laplacian_and_mass, tangent_gradient, vertex_normals
from raf_runtime.session import Session
from raf_runtime.spectral import spectral_basis
from raf_runtime.surface import Surface
from raf_sdk.io import read_mesh

SHIPPED = Path(raf_sdk.__file__).parent / "data" / "model.onnx"
IMPORT = """
import sys, time
start = time.perf_counter()
import raf_sdk
print(time.perf_counter() - start, 'torch' in sys.modules)
"""

Times = dict[str, list[float]]


class Stopwatch:
    """Collects the seconds of named stages."""

    def __init__(self) -> None:
        self.times: Times = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.times[name].append(time.perf_counter() - start)


def rig_in_stages(watch: Stopwatch, session: Session, path: Path) -> raf_sdk.Rig:
    """What ``Rigger.rig`` does (see :mod:`raf_runtime.head`), with a stopwatch between its steps."""
    with watch.stage("read file"):
        mesh = read_mesh(path)
    with watch.stage("weld"):
        surface = Surface.build(mesh.vertices, mesh.faces)
    with watch.stage("canonical frame"):
        frame = estimate_frame(surface.vertices, surface.faces)
        points = frame.to_canonical(surface.vertices)
    triangles, component, coarse = surface.faces, surface.component, None
    if len(points) > LARGE:
        with watch.stage("coarser stand-in"):
            coarse = Coarse.build(points, triangles, component, LARGE // 2)
            points, triangles, component = coarse.vertices, coarse.faces, coarse.component
    with watch.stage("Laplacian"):
        laplacian, mass = laplacian_and_mass(points, triangles)
    with watch.stage("spectral basis"):
        values, vectors = spectral_basis(points, laplacian, mass, component, session.eigenpairs)
    with watch.stage("gradients"):
        normals = vertex_normals(points, triangles)
        basis = vectors.astype(np.float32)
        gradients = [
            along.astype(np.float32) @ basis for along in tangent_gradient(points, triangles, normals)
        ]
        arrays = (points, normals, mass, values, basis, *gradients)
        operators = Operators(*(array.astype(np.float32) for array in arrays))
    with watch.stage("network"):
        displacements = session.run(operators)
    with watch.stage("finish"):
        head = PreparedHead.build(surface, frame, operators, coarse)
        return raf_sdk.Rig(mesh, session.poses, head.finish(displacements, session.poses))


def measure_warm(model: Path, path: Path, repeats: int) -> Times:
    """Seconds of the stages and of the whole, each time on the file."""
    rigger, session = raf_sdk.Rigger(model), Session(model)
    expected = rigger.rig(path)
    staged = rig_in_stages(Stopwatch(), session, path)
    size = np.abs(expected.deltas).max()
    if not np.allclose(staged.deltas, expected.deltas, rtol=0, atol=1e-3 * size):
        sys.exit(
            "the stages of this benchmark are no longer those of Rigger.rig: bring rig_in_stages up to date"
        )
    watch = Stopwatch()
    for _ in tqdm(range(repeats), desc=path.stem, unit="rig"):
        rig_in_stages(watch, session, path)
        with watch.stage("rigger.rig(path)"):
            rigger.rig(path)
        with watch.stage("rigger.rig(mesh)"):
            rigger.rig(expected.mesh)
    return watch.times


def measure_head(name: str, path: Path, folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Everything about one head, printed and returned."""
    mesh = read_mesh(path)
    title = f"{name}: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles"
    # First, while nothing else of this process keeps the machine busy.
    cold = [cold_rig(path, folder / "rig.glb", options.model) for _ in range(options.cold)]
    times = measure_warm(options.model, path, options.repeats)
    rows = [[stage, *_summary(seconds)] for stage, seconds in times.items()]
    rows.append(["raf rig, cold process, to GLB", *_summary([seconds for seconds, _ in cold])])
    table(f"{title}; seconds", ["stage", "median", "least", "most"], rows)
    peak = max(peak for _, peak in cold)
    print(f"peak memory of the cold process: {peak / 1e6:,.0f} MB")
    report: dict[str, object] = {
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.faces),
        "warm_seconds": times,
        "cold_seconds": [seconds for seconds, _ in cold],
        "cold_peak_bytes": peak,
    }
    if options.passes:
        report["reference"] = compare(mesh, float(np.median(times["rigger.rig(path)"])), options.passes)
    return report


def compare(mesh: raf_sdk.Mesh, ours: float, passes: int) -> dict[str, object]:
    """Run the reference pipeline on a head and print how many times longer it takes."""
    surface = Surface.build(mesh.vertices, mesh.faces)
    points = estimate_frame(surface.vertices, surface.faces).to_canonical(surface.vertices)
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
    return run_cold([*RAF, "rig", str(head), "-o", str(rig), "--model", str(model)])


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


def measure_scan(head: Path, triangles: int, folder: Path, model: Path) -> dict[str, object]:
    """Make a scan of a head and rig it in a process of its own."""
    scan = folder / "scan.ply"
    count = write_scan(read_mesh(head), triangles, scan)
    seconds, peak = cold_rig(scan, folder / "scan.glb", model)
    row = [f"raf rig, {count:,} triangles, PLY to GLB", f"{seconds:.1f}", f"{peak / 1e6:,.0f}"]
    table(f"scan made from {head.name}, cold process", ["", "seconds", "peak MB"], [row])
    return {"triangles": count, "seconds": seconds, "peak_bytes": peak}


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
        "--scan", type=int, nargs="?", const=1_000_000, metavar="TRIANGLES", help="also a scan (1,000,000)"
    )
    options = parser.parse_args()

    report: dict[str, object] = {"about": about(options.model)}
    report["import"] = measure_import(max(options.cold, 1))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        heads = {path.stem: path for path in options.head}
        if options.ict:
            heads |= write_ict(options.ict, folder)
        example = stack.enter_context(as_file(files("raf_sdk") / "data" / "example_head.obj"))
        heads = heads or {"example head": example}
        report["heads"] = {name: measure_head(name, path, folder, options) for name, path in heads.items()}
        if options.scan:
            report["scan"] = measure_scan((options.head or [example])[0], options.scan, folder, options.model)
    write_json(options.out, report)


if __name__ == "__main__":
    main()
