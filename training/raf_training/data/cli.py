"""The command ``raf-data``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from raf_runtime.errors import RafError
from raf_training.data.build import SHARES, SPLITS, BuildPlan, build
from raf_training.data.samples import SampleOptions

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-data``; returns the exit status (2 on an error that the user can mend)."""
    options = _parser().parse_args(arguments)
    plan = BuildPlan(
        options.data,
        options.out,
        tuple(options.families),
        options.split,
        options.samples,
        options.seed,
        SampleOptions(warp_share=options.warp_share, dress_share=options.dress_share),
    )
    try:
        build(plan, options.processes)
    except RafError as error:
        sys.stderr.write(f"raf-data: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="raf-data", description="Prepare training data.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "build",
        help="archives of rigs to training samples",
        description="Draw identities of the rigs in fresh triangulations, crops and proportions, and compute their "
        "operators. Resumes where it was interrupted; more --samples enlarge a folder.",
    )
    command.add_argument(
        "--data", type=Path, required=True, help="folder of the archives (ict_facekit.npz, ...)"
    )
    command.add_argument("--out", type=Path, required=True, help="folder for the samples, about 1.7 MB each")
    command.add_argument("--samples", type=int, required=True, help="how many the folder shall hold")
    command.add_argument("--split", choices=tuple(SPLITS), default="train", help="identities to draw (train)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--families", nargs="+", default=list(SHARES), metavar="FAMILY", help=f"of {', '.join(SHARES)} (all)"
    )
    defaults = SampleOptions()
    for name, what in (("warp", "bent by a strong warp"), ("dress", "that wear hats, hair, glasses or collars")):
        share = getattr(defaults, f"{name}_share")
        command.add_argument(
            f"--{name}-share", type=float, default=share, metavar="SHARE", help=f"of heads {what} ({share})"
        )
    command.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="(all cores)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
