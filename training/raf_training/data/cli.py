"""The command ``raf-data``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from raf_runtime.errors import RafError
from raf_training.data import build
from raf_training.data.importers import neutral
from raf_training.data.importers.gltf import import_gltf
from raf_training.data.importers.ict import import_ict
from raf_training.data.importers.makehuman import import_makehuman
from raf_training.data.samples import SampleOptions

__all__ = ["main"]

_PARTIAL = "take what is there; else whatever lacks a shape, or has an unknown one, is refused"


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-data``; returns the exit status (2 on an error that the user can mend)."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], str | None] = options.command
    try:
        report = command(options)
    except RafError as error:
        sys.stderr.write(f"raf-data: {error}\n")
        return 2
    if report is not None:
        print(f"{options.out}: {report}")
    return 0


def _build(options: argparse.Namespace) -> None:
    plan = build.BuildPlan(
        options.data,
        options.out,
        tuple(options.families),
        options.split,
        options.samples,
        options.seed,
        SampleOptions(
            vertices=tuple(options.vertices),
            large_share=options.large_share,
            proportion=options.proportion,
            warp_share=options.warp_share,
            dress_share=options.dress_share,
        ),
        factor=options.factor,
    )
    build.build(plan, options.processes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="raf-data", description="Prepare training data.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _fill_build(
        commands.add_parser(
            "build",
            help="archives of rigs to training samples",
            description="Draw identities of the rigs in fresh triangulations, crops and proportions, and compute "
            "their operators. Resumes where it was interrupted; more --samples enlarge a folder.",
        )
    )
    command = commands.add_parser("import", help="upstream files, or one's own, to archives")
    kinds = command.add_subparsers(required=True, metavar="KIND")
    _fill_ict(kinds.add_parser("ict", help="ICT-FaceKit's repository to ict_facekit.npz"))
    _fill_makehuman(kinds.add_parser("makehuman", help="MakeHuman's repositories to makehuman_heads.npz"))
    _fill_gltf(kinds.add_parser("gltf", help="rigged heads to a family of one's own, for `build --families`"))
    _fill_neutral(kinds.add_parser("neutral", help="unrigged heads to an archive like rocketbox_neutral.npz"))
    return parser


def _fill_ict(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", type=Path, metavar="PATH", help="the repository, or its folder FaceXModel")
    _add_out(command)
    command.add_argument("--partial", action="store_true", help=_PARTIAL)
    command.set_defaults(command=lambda o: import_ict(o.path, o.out, partial=o.partial))


def _fill_makehuman(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folders that together hold 3dobjs/base.obj, targets/, the face units and the proxies",
    )
    _add_out(command)
    command.add_argument("--proxies", type=Path, metavar="OUT", help="also write makehuman_proxies.npz")
    command.add_argument("--partial", action="store_true", help=_PARTIAL)
    command.set_defaults(command=lambda o: import_makehuman(o.paths, o.out, o.proxies, partial=o.partial))


def _fill_gltf(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="GLB or glTF files, or folders of them"
    )
    _add_out(command)
    command.add_argument(
        "--attribution", metavar="TEXT", help="what the licence of these heads asks to be said"
    )
    command.add_argument("--partial", action="store_true", help=_PARTIAL)
    command.set_defaults(
        command=lambda o: import_gltf(o.paths, o.out, attribution=o.attribution, partial=o.partial)
    )


def _fill_neutral(command: argparse.ArgumentParser) -> None:
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="mesh files, or folders of them")
    _add_out(command)
    command.add_argument(
        "--factor",
        type=_count,
        default=0,
        help=f"heads to blend for each head that has others of its topology (0; {neutral.FACTOR} in the paper)",
    )
    command.add_argument("--seed", type=_count, default=0, help="of the blends")
    command.set_defaults(
        command=lambda o: neutral.import_neutral(o.paths, o.out, factor=o.factor, seed=o.seed)
    )


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="the archive, .npz")


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _fill_build(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data", type=Path, required=True, help="folder of the archives (ict_facekit.npz, ...)"
    )
    command.add_argument("--out", type=Path, required=True, help="folder for the samples, about 1.7 MB each")
    command.add_argument("--samples", type=_count, required=True, help="how many the folder shall hold")
    command.add_argument(
        "--split", choices=tuple(build.SPLITS), default="train", help="identities to draw (train)"
    )
    command.add_argument("--seed", type=_count, default=0)
    shipped, defaults = list(build.SHARES), SampleOptions()
    command.add_argument(
        "--families",
        nargs="+",
        default=shipped,
        metavar="FAMILY",
        help=f"of {', '.join(shipped)} (all), and names of archives of `import gltf` in the folder",
    )
    command.add_argument(
        "--factor",
        type=_count,
        default=build.FACTOR,
        help="heads to blend for each head of an imported family that has others of its topology "
        f"({build.FACTOR}, as in the paper; 0 for none)",
    )
    command.add_argument(
        "--vertices",
        nargs=2,
        type=_count,
        default=defaults.vertices,
        metavar=("LEAST", "MOST"),
        help=f"of a head, drawn log-uniformly {defaults.vertices}",
    )
    command.add_argument(
        "--proportion",
        type=_share,
        default=defaults.proportion,
        metavar="SPREAD",
        help="standard deviation of the logarithm of the scaling along each axis "
        f"({defaults.proportion}; 0 keeps the proportions that the rig gives an identity)",
    )
    low, high = defaults.large_vertices
    for name, what in (
        ("large", f"of {low} to {high} vertices instead"),
        ("warp", "bent by a strong warp"),
        ("dress", "that wear hats, hair, glasses or collars"),
    ):
        share = getattr(defaults, f"{name}_share")
        command.add_argument(
            f"--{name}-share", type=_share, default=share, metavar="SHARE", help=f"of heads {what} ({share})"
        )
    command.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="(all cores)")
    command.set_defaults(command=_build)


if __name__ == "__main__":
    raise SystemExit(main())
