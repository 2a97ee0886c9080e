"""The ``raf`` command: a head in, a rig out; is a rig right; the shipped example; what is in a file."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import raf_sdk
from raf_sdk._rig import find_poses
from raf_sdk.io._atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

EXAMPLE = "example_head.obj"
EXIT_FLAWS = 1
EXIT_ERROR = 2  # as argparse leaves on a wrong argument


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        The words after ``raf``; those of the process by default.

    Returns
    -------
    int
        The exit status: 0; 1 if ``raf check`` or ``raf doctor`` found something wrong; or 2 after an error, which is
        one line on standard error.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except raf_sdk.RafError as error:
        _complain(error)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("raf: interrupted", file=sys.stderr)
        return EXIT_ERROR


def _complain(error: raf_sdk.RafError) -> None:
    print(f"raf: {' '.join(str(error).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raf", description="A neutral head mesh in, a 52-shape ARKit blendshape rig out."
    )
    parser.add_argument("--version", action="version", version=f"raf-sdk {raf_sdk.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    rig = commands.add_parser(
        "rig",
        help="rig heads",
        description="Rig neutral heads: predict how their vertices move in each ARKit shape. "
        "Vertices, polygons and texture coordinates stay as they are in the file. "
        "Of several heads those that fail are named, and the exit status is 2.",
    )
    rig.add_argument(
        "heads",
        metavar="HEAD",
        nargs="+",
        help="a neutral mesh: .obj, .ply, .stl, .glb, .gltf or .vrm",
    )
    rig.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="x.glb, x.gltf or x.vrm: morph targets, and all else that a HEAD of these kinds holds; x.npz: arrays; "
        "x.obj: a folder x/ with one OBJ for each shape; without a suffix: a folder for a .glb or .vrm of every HEAD",
    )
    rig.add_argument(
        "--shapes",
        metavar="A,B,...",
        type=_names,
        default=(),
        help="only these shapes, in this order (default: all)",
    )
    rig.add_argument(
        "--preview",
        metavar="PNG",
        help="also draw a contact sheet: the neutral and every shape; a folder for sheets, if OUT is a folder",
    )
    rig.add_argument(
        "--model",
        metavar="MODEL",
        help="an .onnx or .engine file of raf-export (default: the model that is shipped)",
    )
    rig.add_argument(
        "--device", default="auto", help="auto (default), cpu, cuda, tensorrt or coreml; see raf doctor"
    )
    rig.add_argument(
        "--no-cache",
        action="store_true",
        help="prepare the head anew and keep nothing of it for the next time",
    )
    rig.set_defaults(run=_rig)

    check = commands.add_parser(
        "check",
        help="check a rig",
        description="Check by geometry, shape by shape, that a rig of any tool does what its names say. "
        "Exit status 1 if a check fails.",
    )
    check.add_argument(
        "file",
        metavar="FILE",
        help="x.glb, x.gltf or x.vrm with morph targets; or what raf rig wrote: x.npz, a folder of OBJs",
    )
    check.add_argument("--json", metavar="PATH", help="also write the report as JSON")
    check.add_argument("--preview", metavar="PNG", help="also draw a contact sheet, what failed in red")
    check.set_defaults(run=_check)

    example = commands.add_parser(
        "example",
        help="write the head that is shipped",
        description="Write the example head, which this project sculpted itself, to a file.",
    )
    example.add_argument("-o", "--output", metavar="OBJ", required=True, help="the file to write")
    example.set_defaults(run=_example)

    info = commands.add_parser(
        "info",
        help="say what is in a mesh or model file",
        description="Say what is in a mesh file, what of it is set aside, and if it can be rigged; or what "
        "an ONNX model says about itself.",
    )
    info.add_argument("file", metavar="FILE", help="a mesh file, or an .onnx model")
    info.set_defaults(run=_info)

    doctor = commands.add_parser(
        "doctor",
        help="say which devices can be used here, and why others cannot",
        description="Try every device with the shipped model and say which can be used, why others cannot, and what to "
        "do about it. Exit status 1 if the CPU cannot be used.",
    )
    doctor.add_argument("--json", action="store_true", help="write JSON instead of a table")
    doctor.set_defaults(run=_doctor)
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError("no shape is named; write for example jawOpen,mouthSmileLeft")
    return names


def _rig(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    rigger = raf_sdk.Rigger(options.model, device=options.device, cache=not options.no_cache)
    # Before the work: a misspelt name costs no minute on a large scan, and leaves no empty folder.
    find_poses(options.shapes, rigger.names)
    work = _outputs(options)
    status = 0
    for head, output, preview in work:
        try:
            rig = rigger.rig(head)
            if options.shapes:
                rig = rig.select(options.shapes)
            rig.save(output)
            if preview:
                rig.preview(preview)
        except raf_sdk.RafError as error:
            _complain(error)
            status = EXIT_ERROR
        else:
            written = " and ".join(str(path) for path in (output, preview) if path)
            print(
                f"{written}: {len(rig.names)} shapes of {len(rig.vertices):,} vertices, "
                f"{time.perf_counter() - start:.1f} s on {rigger.device}"
            )
        start = time.perf_counter()
    return status


def _outputs(options: argparse.Namespace) -> list[tuple[str, Path, Path | None]]:
    """Each head with the files to write of it; folders are made."""
    output, preview = Path(options.output), Path(options.preview) if options.preview else None
    if output.suffix:
        if len(options.heads) > 1:
            raise raf_sdk.OutputError(
                f"{output} can hold one of {len(options.heads)} heads; give a folder, without a suffix"
            )
        return [(options.heads[0], output, preview)]
    work: dict[Path, tuple[str, Path, Path | None]] = {}
    for head in options.heads:
        name = Path(head)
        path = output / f"{name.stem}{'.vrm' if name.suffix.lower() == '.vrm' else '.glb'}"
        if path in work:
            raise raf_sdk.OutputError(f"{work[path][0]} and {head} would both become {path}; rig them apart")
        work[path] = head, path, preview and preview / f"{path.stem}.png"
    for folder in filter(None, (output, preview)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise raf_sdk.OutputError(f"{folder} cannot be made: {error.strerror or error}") from error
    return list(work.values())


def _check(options: argparse.Namespace) -> int:
    rig = raf_sdk.Rig.load(options.file)
    report = rig.check()
    if options.json:
        output = Path(options.json)
        try:
            with replacing(output) as file:
                file.write(report.to_json().encode())
        except OSError as error:
            raise raf_sdk.OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    if options.preview:
        rig.preview(options.preview, report)
    print(report)
    return 0 if report.passed else EXIT_FLAWS


def _example(options: argparse.Namespace) -> None:
    output = Path(options.output)
    if output.suffix.lower() != ".obj":
        raise raf_sdk.OutputError(f"{output}: the example is an OBJ file; give it the suffix .obj")
    content = resources.files(raf_sdk).joinpath("data", EXAMPLE).read_bytes()
    try:
        with replacing(output) as file:
            file.write(content)
    except OSError as error:
        raise raf_sdk.OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    print(f"{output}: {len(content):,} bytes")


def _info(options: argparse.Namespace) -> None:
    from raf_sdk._info import describe_mesh, describe_model

    path = Path(options.file)
    describe = describe_model if path.suffix.lower() == ".onnx" else describe_mesh
    lines = describe(path)
    width = max(map(len, lines))
    for key, value in lines.items():
        print(f"{key:{width}}  {value}")


def _doctor(options: argparse.Namespace) -> int:
    from raf_sdk._doctor import examine

    examination = examine()
    print(examination.to_json() if options.json else examination)
    return 0 if examination.healthy else EXIT_FLAWS
