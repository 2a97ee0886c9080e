"""The command ``raf-train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from raf_runtime.errors import RafError
from raf_training.network import CONFIGS
from raf_training.train import TrainPlan, train

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-train``; returns the exit status (2 on an error that the user can mend)."""
    options = vars(_parser().parse_args(arguments))
    try:
        train(TrainPlan(**options))
    except RafError as error:
        sys.stderr.write(f"raf-train: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raf-train",
        description="Train a network on samples made by `raf-data build`. A folder that holds a checkpoint is resumed; "
        "weights.safetensors in it is what `raf-export` takes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = TrainPlan(Path(), Path(), Path())
    parser.add_argument("--train", type=Path, required=True, help="folder of training samples")
    parser.add_argument("--val", type=Path, required=True, help="folder of held-out samples")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and logs")
    parser.add_argument("--leave-out", default=None, metavar="FAMILY", help="learn nothing from this family")
    trainable = [name for name, config in CONFIGS.items() if not config.pose_blocks]
    parser.add_argument("--config", choices=trainable, default=defaults.config, help="size of the network")
    parser.add_argument("--init", type=Path, default=None, help="start from these weights (.safetensors)")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="heads to learn from, one a step")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="peak learning rate")
    parser.add_argument(
        "--average", type=float, default=defaults.average, help="decay of the mean of the weights"
    )
    parser.add_argument("--every", type=int, default=defaults.every, help="steps between validations")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of weights, order and augmentation")
    parser.add_argument("--device", default=defaults.device, help="cpu, cuda, cuda:1, ...")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
