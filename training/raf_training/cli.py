"""The command ``raf-train``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from raf_runtime.errors import RafError
from raf_training.checkpoint import load_network
from raf_training.dataset import SampleFolder
from raf_training.evaluate import evaluate
from raf_training.network import CONFIGS
from raf_training.readout_training import ReadoutPlan, train_readouts
from raf_training.stages.config import STAGES, Precision, Stage
from raf_training.stages.loop import StagePlan, train_stage
from raf_training.teacher.run import TeacherPlan, run_teacher
from raf_training.train import TrainPlan, device_of, train

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-train``; returns the exit status (2 on an error that the user can mend)."""
    options = vars(_parser().parse_args(arguments))
    command: Callable[[dict[str, Any]], object] = options.pop("run")
    try:
        command(options)
    except RafError as error:
        sys.stderr.write(f"raf-train: {error}\n")
        return 2
    return 0


def _rig(options: dict[str, Any]) -> None:
    train(TrainPlan(**options))


def _readouts(options: dict[str, Any]) -> None:
    options["train"] = tuple(options["train"])
    figures = train_readouts(ReadoutPlan(**options))
    sys.stdout.write(
        "error of the motion: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()) + "\n"
    )


def _stage(options: dict[str, Any]) -> None:
    stage: Stage = options["stage"]
    config = STAGES[options.pop("config")][stage]
    train_stage(StagePlan(config=config, **options))


def _teacher(options: dict[str, Any]) -> None:
    report = run_teacher(TeacherPlan(**options))
    sys.stdout.write(
        f"error of drawn displacements on held-out rigs: {report['error']:.2f} of the motion; "
        f"{report['kept']:.0%} of the targets kept\n"
    )


def _evaluate(options: dict[str, Any]) -> None:
    network, _ = load_network(options["weights"])
    figures = evaluate(network, SampleFolder(options["val"]), device_of(options["device"]))
    parameters = sum(value.numel() for value in network.parameters())
    sys.stdout.write(f"{parameters / 1e6:.2f} million parameters; mm on a head of 240 mm\n")
    sys.stdout.write("family      heads     MAE     Q95   ratio  cosine  s per rig\n")
    for name, f in figures.items():
        row = f"{f.mae:7.3f} {f.q95:7.3f} {f.ratio:7.3f} {f.cosine:7.3f} {f.seconds:10.3f}"
        sys.stdout.write(f"{name:<12}{f.heads:>5} {row}\n")
    if options["json"]:
        content = {"parameters": parameters, "families": {name: asdict(f) for name, f in figures.items()}}
        temporary = options["json"].with_suffix(".tmp")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(options["json"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raf-train",
        description="Train networks on samples made by `raf-data build`, and measure them. A folder that holds a "
        "checkpoint is resumed; weights.safetensors in it is what `raf-export` takes.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[dict[str, Any]], None], help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=help, description=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        made.set_defaults(run=run)
        return made

    _add_rig(command("rig", _rig, "a network that emits all shapes at once, by 3D supervision"))
    _add_readouts(command("readouts", _readouts, "last layers for each family that such a network knows"))
    first = command("stage1", _stage, "the paper's first stage: rigged and unrigged heads, 2D losses")
    _add_stage(first, 1)
    first.add_argument(
        "--unrigged", type=Path, default=None, help="folder of 2D targets (docs/targets_2d.md)"
    )
    first.add_argument("--init", type=Path, default=None, help="start from these weights (.safetensors)")
    second = command("stage2", _stage, "the paper's second stage: rigged heads, 2D and 3D losses")
    _add_stage(second, 2)
    second.add_argument("--init", type=Path, required=True, help="weights.safetensors of stage 1")
    teacher = command(
        "teacher", _teacher, "2D targets of unrigged heads, by a network that rigged ones teach"
    )
    _add_teacher(teacher)
    measure = command("evaluate", _evaluate, "error of weights on held-out samples, by family")
    measure.add_argument("--weights", type=Path, required=True, help="weights.safetensors of any of these")
    measure.add_argument("--val", type=Path, required=True, help="folder of held-out samples")
    measure.add_argument("--json", type=Path, default=None, help="write the figures here as well")
    measure.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    return parser


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", type=Path, required=True, help="folder of training samples")
    parser.add_argument("--val", type=Path, required=True, help="folder of held-out samples")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")


def _add_rig(parser: argparse.ArgumentParser) -> None:
    defaults = TrainPlan(Path(), Path(), Path())
    _add_folders(parser)
    parser.add_argument("--leave-out", default=None, metavar="FAMILY", help="learn nothing from this family")
    trainable = [name for name, config in CONFIGS.items() if not config.pose_blocks]
    parser.add_argument("--config", choices=trainable, default=defaults.config, help="size of the network")
    parser.add_argument("--init", type=Path, default=None, help="start from these weights (.safetensors)")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="batches to learn from")
    parser.add_argument(
        "--batch",
        type=int,
        default=defaults.batch,
        help="heads a batch; with more than one all samples are held in the memory of the device",
    )
    parser.add_argument("--rate", type=float, default=defaults.rate, help="peak learning rate")
    parser.add_argument(
        "--average", type=float, default=defaults.average, help="decay of the mean of the weights"
    )
    parser.add_argument("--every", type=int, default=defaults.every, help="steps between validations")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of weights, order and augmentation")
    parser.add_argument("--device", default=defaults.device, help="cpu, cuda, cuda:1, ...")


def _add_readouts(parser: argparse.ArgumentParser) -> None:
    defaults = ReadoutPlan((), Path(), Path(), Path())
    parser.add_argument(
        "--train",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="folders of training samples, of any number of vertices; one given twice is seen in two ways",
    )
    parser.add_argument("--val", type=Path, required=True, help="folder of held-out samples")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is written")
    parser.add_argument("--init", type=Path, required=True, help="weights.safetensors of `raf-train rig`")
    parser.add_argument(
        "--rows", type=int, default=defaults.rows, help="vertices of a head to learn from, at most"
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="steps for each family")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of rows, order and augmentation")


def _add_stage(parser: argparse.ArgumentParser, stage: Stage) -> None:
    _add_folders(parser)
    parser.set_defaults(stage=stage)
    parser.add_argument("--config", choices=list(STAGES), default="paper", help="everything about the stage")
    parser.add_argument("--every", type=int, default=500, help="steps between validations and checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument(
        "--device", default="cpu", help="cpu or cuda; under torchrun, each process has its own GPU"
    )
    parser.add_argument("--precision", choices=get_args(Precision), default="32-true", help="mixed or not")


def _add_teacher(parser: argparse.ArgumentParser) -> None:
    defaults = TeacherPlan(Path(), Path(), Path(), Path())
    _add_folders(parser)
    parser.add_argument("--neutral", type=Path, required=True, help="folder of rocketbox_neutral.npz")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="steps of the training")
    parser.add_argument("--heads", type=int, default=None, help="draw only so many of the unrigged heads")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--device", default=defaults.device, help="cpu, cuda, cuda:1, ...")


if __name__ == "__main__":
    raise SystemExit(main())
