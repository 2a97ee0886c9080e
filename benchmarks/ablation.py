"""What each part of the paper's training is worth here: runs that leave one out, under equal budgets.

    python benchmarks/ablation.py --train DIR --val DIR --unrigged TARGETS --out DIR [--init WEIGHTS] [--blind WEIGHTS]
        [--rate 6e-4] [--first 250] [--second 250] [--seconds 60] [--rows full ...]

Every row is trained by ``raf-train``'s own stages, from scratch or from weights that have learned to move by 3D
supervision alone, and measured on the held-out samples like ``raf-train evaluate``: of the families that those
weights have not seen, that says whether 2D losses help where the product is judged. The row without the global
encoder then starts from weights of the network ``blind``. Rows that leave out a loss or heads have the steps of the
full run; what a step costs differs, and the table says so. From scratch two rows more have equal processor time
instead, about the full run's, and the 3D loss alone: the same network, whose steps then cost least, and ``paper``. A
row that has a result is not run again, so that several processes can share the work by ``--rows``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _metrics import Tally
from _report import write_json
from matplotlib.figure import Figure

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_training.checkpoint import load_network
from raf_training.dataset import SampleFolder
from raf_training.evaluate import UNIT, Figures, evaluate
from raf_training.losses.displacement import on_open_jaw
from raf_training.losses.weights import STAGE_1, LossWeights
from raf_training.network import CONFIGS, RigNetwork
from raf_training.posing import PosedNetwork, pose_vectors, predict_rig
from raf_training.stages.config import STAGES, Stage, StageConfig
from raf_training.stages.heads import StageData
from raf_training.stages.lessons import lessons
from raf_training.stages.loop import StagePlan, train_stage
from raf_training.stages.objective import Objective
from raf_training.stages.schedule import Order
from raf_training.stages.targets import TargetFolder

# MAE and Q95 of the paper's ablation, on its full test set and in its own normalisation.
PAPER = {
    "full": (1.92, 5.63),
    "without global encoder": (2.14, 6.64),
    "without 2D losses": (2.08, 5.84),
    "without unrigged heads": (2.01, 5.81),
    "without 2D displacement": (1.95, 5.89),
}
ONLY_3D = LossWeights(mse_3d=100.0)
# The network that is shipped, and cheap images: budgets are minutes of one core, and after 4,000 steps of it a network
# of the paper's kind with 0.06 M parameters had not begun to move.
NETWORK = CONFIGS["default"]
CHEAP: dict[str, Any] = {"resolution": 64, "warm_up": 50, "cycles": 1}
NO_ENCODER = "without global encoder"
TIMED = {
    "without 2D losses, equal time": NETWORK,
    "network `paper`, 3D only, equal time": CONFIGS["paper"],
}


@dataclass(frozen=True, slots=True)
class Row:
    """One training: a first stage or none, a second, and whether the first learns from unrigged heads."""

    name: str
    first: StageConfig | None
    second: StageConfig
    unrigged: bool = True


def rows(first: StageConfig, second: StageConfig) -> list[Row]:
    """The full training, and what is left when one part is taken out."""
    blind = {name: getattr(CONFIGS["blind"], name) for name in ("encoder_blocks", "anchors", "marks")}
    total = (first.most_steps or 0) + (second.most_steps or 0)
    return [
        Row("full", first, second),
        Row(
            NO_ENCODER,
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
    init: Path | None
    blind: Path | None

    def result(self, name: str) -> Path:
        """Where the result of a row is."""
        return self.out / name.translate({ord(" "): "_", ord(","): None, ord("`"): None}) / "result.json"

    def run(self, row: Row) -> dict[str, Any]:
        """Train and measure a row, or read its result."""
        result = self.result(row.name)
        if result.is_file():
            return json.loads(result.read_text())
        init, seconds = self.blind if row.name == NO_ENCODER else self.init, 0.0
        if row.first:
            unrigged = self.unrigged if row.unrigged else None
            first = result.parent / "first"
            self._stage(1, row.first, first, unrigged, init)
            init = first / "weights.safetensors"
            seconds += (row.first.most_steps or 0) * self.cost(row.first, unrigged)
        figures = self._stage(2, row.second, result.parent / "second", None, init)
        seconds += (row.second.most_steps or 0) * self.cost(row.second, None)
        network, _ = load_network(result.parent / "second" / "weights.safetensors")
        steps = [row.first.most_steps or 0 if row.first else 0, row.second.most_steps or 0]
        content = self._content(row.name, steps, seconds, network, figures)
        write_json(result, content)
        return content

    def start(self, name: str, init: Path) -> dict[str, Any]:
        """Measure weights that rows start from."""
        network, _ = load_network(init)
        figures = evaluate(network, SampleFolder(self.val), torch.device("cpu"))
        return self._content(name, [0, 0], 0.0, network, figures)

    def cost(self, config: StageConfig, unrigged: Path | None, steps: int = 12) -> float:
        """Processor seconds of a step, reading included."""
        targets = TargetFolder(unrigged) if unrigged else None
        data = StageData(SampleFolder(self.train), targets)
        objective = Objective(config.weights, config.resolution)
        model = PosedNetwork(RigNetwork(config.network))
        optimizer = torch.optim.Adam(model.parameters())
        start = time.process_time()
        for (lesson,) in lessons(data, Order(data.poses, config.poses, 0), range(steps), 1):
            inputs = (getattr(lesson.head.surface, name) for name in INPUTS)
            moved = model(pose_vectors(lesson.rows), *inputs)
            terms = objective(lesson.head, lesson.rows, moved, lesson.targets)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
        return (time.process_time() - start) / steps

    def _content(
        self, name: str, steps: list[int], seconds: float, network: RigNetwork, figures: dict[str, Figures]
    ) -> dict[str, Any]:
        return {
            "name": name,
            "steps": steps,
            "seconds": seconds,
            "parameters": sum(value.numel() for value in network.parameters()),
            "scaled": scaled_ratio(network, SampleFolder(self.val)),
            "families": {family: asdict(value) for family, value in figures.items()},
        }

    def _stage(
        self, stage: Stage, config: StageConfig, out: Path, unrigged: Path | None, init: Path | None
    ) -> dict[str, Figures]:
        # Validated once, at the end.
        every = config.most_steps or 1
        return train_stage(StagePlan(stage, config, self.train, self.val, out, unrigged, init, every=every))


def scaled_ratio(network: RigNetwork, heads: SampleFolder) -> float:
    """Error over motion after the best factor for each rig and shape, gaze left out; the mean of the rigs."""
    tallies: defaultdict[str, Tally] = defaultdict(lambda: Tally(len(ARKIT_POSES)))
    for number in range(len(heads)):
        sample = heads[number]
        guess = on_open_jaw(predict_rig(network, sample.surface))
        # Where nothing moves nothing is counted.
        truth = on_open_jaw(sample.deltas) * sample.mask[:, None, None]
        tallies[sample.source].add(guess.numpy(), truth.numpy(), UNIT)
    poses = [row for row, name in enumerate(ARKIT_POSES) if not name.startswith("eyeLook")]
    return float(np.mean([tally.score(poses).scaled_ratio for tally in tallies.values()]))


def markdown(results: list[dict[str, Any]]) -> str:
    """The table of the docs."""
    lines = [
        "| | steps | processor s | parameters | s per rig | MAE | Q95 | ratio | scaled | cosine | paper: MAE | Q95 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        f = r["families"]["all"]
        theirs = [f"{x:.2f}" for x in PAPER[r["name"]]] if r["name"] in PAPER else ["", ""]
        cells = [
            r["name"],
            " + ".join(str(x) for x in r["steps"] if x),
            f"{r['seconds']:.0f}",
            f"{r['parameters'] / 1e6:.2f} M",
            f"{f['seconds']:.2f}",
            *(f"{x:.3f}" for x in (f["mae"], f["q95"], f["ratio"], r["scaled"], f["cosine"])),
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
    parser.add_argument("--init", type=Path, help="weights that all rows start from (default: none)")
    parser.add_argument(
        "--blind", type=Path, help=f"the same for the row {NO_ENCODER}, of the network `blind`"
    )
    parser.add_argument("--rate", type=float, default=6e-4, help="peak learning rate")
    parser.add_argument("--first", type=int, default=250, help="steps of stage 1")
    parser.add_argument("--second", type=int, default=250, help="steps of stage 2")
    parser.add_argument("--seconds", type=float, default=60, help="processor time of the rows of equal time")
    parser.add_argument("--rows", nargs="+", default=None, metavar="ROW", help="train only these (all)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ablation = Ablation(
        options.train, options.val, options.unrigged, options.out, options.init, options.blind
    )
    stages, shared = STAGES["small"], {"network": NETWORK, "rate": options.rate, **CHEAP}
    # The paper's losses: `small` leaves images out of its first stage.
    first = replace(stages[1], weights=STAGE_1, most_steps=options.first, **shared)
    second = replace(stages[2], most_steps=options.second, **shared)
    wanted = {row.name: row for row in rows(first, second)}
    results: list[dict[str, Any]] = []
    if ablation.init:
        results.append(ablation.start("where they start", ablation.init))
        if ablation.blind:
            results.append(ablation.start(f"where it starts {NO_ENCODER}", ablation.blind))
        else:
            del wanted[NO_ENCODER]
    for name in [*wanted, *([] if ablation.init else TIMED)]:
        if (options.rows is None or name in options.rows) and not ablation.result(name).is_file():
            row = wanted.get(name) or timed(ablation, name, second, options.seconds)
            ablation.run(row)
        if ablation.result(name).is_file():
            results.append(json.loads(ablation.result(name).read_text()))
    print(markdown(results))
    if ablation.result("full").is_file():
        plot(options.out / "ablation.png", results)


def timed(ablation: Ablation, name: str, second: StageConfig, seconds: float) -> Row:
    """A training by the 3D loss alone that costs so much processor time."""
    config = replace(second, weights=ONLY_3D, network=TIMED[name])
    steps = max(2 * config.warm_up, round(seconds / ablation.cost(config, None)))
    return Row(name, None, replace(config, most_steps=steps))


if __name__ == "__main__":
    main()
