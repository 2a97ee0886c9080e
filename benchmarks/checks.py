"""How many checks true rigs, predicted rigs and the rigs of game heads pass, and pictures of what fails.

    python benchmarks/checks.py --data DATA_DIR --out DIR [--model ONNX] [--identities 100] [--heads 115]

Identities are those of ``quality.py``, which training never saw. A true rig is their neutral with the shapes of
the data: what fails there is a fault of the data or of the check. ``rocketbox`` are neutral heads that no
training source has; they can only be predicted. The table gives, for each question, the share of the checks that pass
among those that apply.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _failures import plot_failures
from _report import about, table, write_json
from numpy.typing import NDArray
from tqdm import tqdm

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_sdk import Mesh, Report, Rig, Rigger
from raf_training.data.archives import read_archive
from raf_training.data.rig_source import RigSource
from raf_training.data.sources import load_sources

# As in quality.py: training draws from (seed, 0 or 1, i).
SEED, HELD_OUT = 20261122, 2
SOURCES = ("ict", "makehuman", "makehuman/female_generic", "makehuman/proxy741", "vitruvian")
PICTURES = 3  # of each question that is failed, for each kind of rig


def true_rig(source: RigSource, vertices: NDArray[np.float32]) -> Rig:
    """The neutral of an identity with the shapes of its family."""
    names = tuple(pose for pose, there in zip(ARKIT_POSES, source.mask, strict=True) if there)
    return Rig(Mesh.from_triangles(vertices, source.faces), names, source.deltas[source.mask])


def family_rigs(source: RigSource, count: int, rigger: Rigger | None) -> Iterator[Rig]:
    """True rigs of held-out identities, or those that a rigger predicts."""
    for index in range(count):
        vertices = source.identity(np.random.default_rng([SEED, HELD_OUT, index]))
        yield true_rig(source, vertices) if rigger is None else rigger.rig((vertices, source.faces))


def game_heads(data: Path, count: int, rigger: Rigger) -> Iterator[Rig]:
    """Predicted rigs of Rocketbox heads, spread evenly over the archive."""
    archive = read_archive(data / "rocketbox_neutral.npz")
    vertices = np.split(archive["vertices"], archive["vertex_offsets"][1:-1])
    faces = np.split(archive["faces"], archive["face_offsets"][1:-1])
    for index in np.linspace(0, len(vertices) - 1, min(count, len(vertices))).round().astype(int):
        yield rigger.rig((vertices[index], faces[index]))


class Tally:
    """Reports of one kind of rig, and a few rigs that failed."""

    def __init__(self, name: str, rigs: Iterator[Rig], total: int) -> None:
        self.name = name
        self.reports: list[Report] = []
        self.failed: list[tuple[str, Rig, tuple[str, ...]]] = []
        for rig in tqdm(rigs, desc=name, unit="rig", total=total):
            report = rig.check()
            self.reports.append(report)
            for check in report.failures:
                if sum(title.startswith(f"{check.name}:") for title, *_ in self.failed) < PICTURES:
                    title = f"{check.name}: {name} {len(self.reports) - 1}, {check.figure:.2g}"
                    self.failed.append((title, rig.select(check.shapes), check.shapes))

    def count(self, question: str | None, verdict: str) -> int:
        """How many checks have a verdict; None for all questions together."""
        return sum(
            check.verdict == verdict and question in (None, check.name)
            for report in self.reports
            for check in report.checks
        )

    def share(self, question: str | None) -> str:
        """Passed / applicable, in words."""
        good, bad = self.count(question, "pass"), self.count(question, "fail")
        return f"{100 * good / (good + bad):.1f} %" if good + bad else "-"

    def as_json(self, questions: list[str]) -> dict[str, object]:
        """Counts by question, and the shapes that fail."""
        shapes: dict[str, dict[str, int]] = {}
        for report in self.reports:
            for check in report.failures:
                row = shapes.setdefault(check.name, {})
                row["+".join(check.shapes)] = row.get("+".join(check.shapes), 0) + 1
        counts = {q: {v: self.count(q, v) for v in ("pass", "fail", "not applicable")} for q in questions}
        return {"rigs": self.name, "heads": len(self.reports), "checks": counts, "failing shapes": shapes}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Check true and predicted rigs.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument("--out", type=Path, required=True, help="folder for checks.json and checks.png")
    parser.add_argument("--model", type=Path, help="an ONNX model (default: the one that is shipped)")
    parser.add_argument("--identities", type=int, default=100, help="per source (default: 100)")
    parser.add_argument("--heads", type=int, default=115, help="of Rocketbox (default: 115, all)")
    parser.add_argument("--sources", nargs="*", metavar="NAME", default=SOURCES, help="such as ict makehuman")
    parser.add_argument("--kinds", nargs="+", choices=("true", "predicted"), default=("true", "predicted"))
    options = parser.parse_args()

    rigger = raf_sdk.Rigger(options.model)
    tallies: list[Tally] = []
    sources = load_sources(options.data, options.sources) if options.sources else {}
    for kind in options.kinds:
        for name, source in sources.items():
            rigs = family_rigs(source, options.identities, rigger if kind == "predicted" else None)
            tallies.append(Tally(f"{kind} {name}", rigs, options.identities))
    if options.heads and "predicted" in options.kinds:
        tallies.append(
            Tally("predicted rocketbox", game_heads(options.data, options.heads, rigger), options.heads)
        )

    questions = list(dict.fromkeys(c.name for t in tallies for r in t.reports for c in r.checks))
    header = ["passed, of those that apply", *(tally.name for tally in tallies)]
    rows = [[question, *(tally.share(question) for tally in tallies)] for question in questions]
    rows.append(["all", *(tally.share(None) for tally in tallies)])
    table(", ".join(f"{tally.name}: {len(tally.reports)}" for tally in tallies), header, rows)
    model = options.model or Path(raf_sdk.__file__).parent / "data" / "model.onnx"
    results = [tally.as_json(questions) for tally in tallies]
    write_json(options.out / "checks.json", {"about": about(model), "results": results})
    plot_failures(options.out / "checks.png", [failure for tally in tallies for failure in tally.failed])


if __name__ == "__main__":
    main()
