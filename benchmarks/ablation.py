"""What each part of the paper's training is worth here: runs that leave one out, under equal budgets.

    python benchmarks/ablation.py --train DIR --val DIR --unrigged TARGETS --out DIR [--first 300] [--second 300]

Every row is trained from scratch by ``raf-train``'s own stages and measured on the held-out samples like ``raf-train
evaluate``. Rows that leave out a loss or heads have the steps of the full run; what a step costs differs, and the
table says so. Two kinds of rows have its processor time instead: the run without 2D losses, whose steps cost least,
and the two networks, ``paper`` and ``default``, both by the 3D loss alone. A row that has a result is not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import write_json
from matplotlib.figure import Figure

from raf_training.checkpoint import load_network
from raf_training.dataset import SampleFolder
from raf_training.evaluate import evaluate
from raf_training.losses.weights import LossWeights
from raf_training.network import CONFIGS
from raf_training.stages.config import STAGES, StageConfig
from raf_training.stages.loop import StagePlan, train_stage

# MAE and Q95 of the paper's ablation, on its full test set and in its own normalisation.
PAPER = {
    "full": (1.92, 5.63),
    "without global encoder": (2.14, 6.64),
    "without 2D losses": (2.08, 5.84),
    "without unrigged heads": (2.01, 5.81),
    "without 2D displacement": (1.95, 5.89),
}
ONLY_3D = LossWeights(mse_3d=100.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One training: a first stage or none, a second, and whether the first learns from unrigged heads."""

    name: str
    first: StageConfig | None
    second: StageConfig
    unrigged: bool = True


def rows(first: StageConfig, second: StageConfig) -> list[Row]:
    """The full training, and what is left when one part is taken out."""
    blind = {"encoder_blocks": 0}
    total = (first.most_steps or 0) + (second.most_steps or 0)
    return [
        Row("full", first, second),
        Row(
            "without global encoder",
            replace(first, network=replace(first.network, **blind)),
            replace(second, network=replace(second.network, **blind)),
        ),
        Row("without 2D losses", None, replace(second, weights=ONLY_3D, most_steps=total)),
        Row("without unrigged heads", first, second, unrigged=False),
        Row(
            "without 2D displacement",
            replace(first, weights=replace(first.weights, displacement_2d=0.0)),
            second,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Ablation:
    """Folders that all rows share."""

    train: Path
    val: Path
    unrigged: Path
    out: Path

    def run(self, row: Row) -> dict[str, Any]:
        """Train and measure a row, or read its result."""
        folder = self.out / row.name.replace(" ", "_").replace(",", "")
        result = folder / "result.json"
        if result.is_file():
            return json.loads(result.read_text())
        start = time.process_time()
        init: Path | None = None
        if row.first:
            unrigged = self.unrigged if row.unrigged else None
            self._stage(1, row.first, folder / "first", unrigged, None)
            init = folder / "first" / "weights.safetensors"
        self._stage(2, row.second, folder / "second", None, init)
        seconds = time.process_time() - start
        network, _ = load_network(folder / "second" / "weights.safetensors")
        figures = evaluate(network, SampleFolder(self.val), torch.device("cpu"))
        content: dict[str, Any] = {
            "name": row.name,
            "steps": [(row.first.most_steps or 0) if row.first else 0, row.second.most_steps],
            "processor_seconds": seconds,
            "parameters": sum(value.numel() for value in network.parameters()),
            "families": {name: asdict(value) for name, value in figures.items()},
        }
        write_json(result, content)
        return content

    def steps_for(self, config: StageConfig, seconds: float) -> int:
        """How many steps of a second stage cost so much processor time: told from a short run and a shorter one."""
        few, more = 3, 9
        costs: list[float] = []
        for steps in (few, more):
            with tempfile.TemporaryDirectory() as folder:
                short = replace(config, most_steps=steps, warm_up=1, cycles=1)
                start = time.process_time()
                self._stage(2, short, Path(folder), None, None)
                costs.append(time.process_time() - start)
        return max(2 * config.warm_up, int(seconds * (more - few) / (costs[1] - costs[0])))

    def _stage(
        self, stage: Any, config: StageConfig, out: Path, unrigged: Path | None, init: Path | None
    ) -> None:
        # Validated once, at the end.
        every = config.most_steps or 1
        train_stage(StagePlan(stage, config, self.train, self.val, out, unrigged, init, every=every))


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of the docs."""
    lines = [
        "| | steps | processor s | parameters | s per rig | MAE | Q95 | ratio | cosine | paper: MAE | Q95 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        f = r["families"]["all"]
        theirs = [f"{x:.2f}" for x in PAPER[r["name"]]] if r["name"] in PAPER else ["", ""]
        cells = [
            r["name"],
            " + ".join(str(x) for x in r["steps"] if x),
            f"{r['processor_seconds']:.0f}",
            f"{r['parameters'] / 1e6:.2f} M",
            f"{f['seconds']:.2f}",
            *(f"{f[name]:.3f}" for name in ("mae", "q95", "ratio", "cosine")),
            *theirs,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(path: Path, results: list[dict[str, Any]]) -> None:
    """Draw MAE over the full training's, here and in the paper, side by side."""
    names = [r["name"] for r in results if r["name"] in PAPER]
    ours = {r["name"]: r["families"]["all"]["mae"] for r in results}
    place = np.arange(len(names))
    # Not through pyplot, which would look for a display.
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.bar(place - 0.2, [ours[n] / ours["full"] for n in names], 0.38, color="#08519c", label="here")
    axes.bar(
        place + 0.2, [PAPER[n][0] / PAPER["full"][0] for n in names], 0.38, color="0.75", label="RigAnyFace"
    )
    axes.axhline(1, color="0.3", linewidth=0.8)
    axes.set_xticks(place, [n.replace("without ", "without\n") for n in names], fontsize=9)
    axes.set_ylabel("MAE over that of the full training", fontsize=9)
    axes.set_ylim(0.7)
    axes.legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run what is missing, print the table and draw the plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, required=True, help="folder of training samples")
    parser.add_argument("--val", type=Path, required=True, help="folder of held-out samples")
    parser.add_argument("--unrigged", type=Path, required=True, help="folder of 2D targets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, default=300, help="steps of stage 1")
    parser.add_argument("--second", type=int, default=300, help="steps of stage 2")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ablation = Ablation(options.train, options.val, options.unrigged, options.out)
    stages = STAGES["small"]
    second = replace(stages[2], most_steps=options.second)
    results: list[dict[str, Any]] = []
    for row in rows(replace(stages[1], most_steps=options.first), second):
        results.append(ablation.run(row))
        print(markdown(results[-1:]))
    seconds = results[0]["processor_seconds"]
    timed = {"without 2D losses, equal time": second.network} | {
        f"network `{name}`, 3D only, equal time": CONFIGS[name] for name in ("paper", "default")
    }
    for name, network in timed.items():
        config = replace(second, weights=ONLY_3D, network=network)
        steps = ablation.steps_for(config, seconds)
        results.append(ablation.run(Row(name, None, replace(config, most_steps=steps))))
    print(markdown(results))
    plot(options.out / "ablation.png", results)


if __name__ == "__main__":
    main()
