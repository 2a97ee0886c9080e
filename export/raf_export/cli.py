"""The command ``raf-export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from raf_export.engine import EngineReport, export_engine
from raf_export.gate import Measured
from raf_export.heads import shipped
from raf_export.onnx_file import export_onnx
from raf_runtime.backends.tensorrt import DEFAULT_PROFILE
from raf_runtime.backends.tensorrt_api import Profile
from raf_runtime.errors import RafError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-export``; returns the exit status (2 on an error that the user can mend)."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.compute_capability and options.target != "tensorrt_rtx":
        parser.error(
            "--compute-capability needs --trt-rtx; plain TensorRT builds for the GPU in the machine only"
        )
    if options.profile and options.target == "onnx":
        parser.error("--profile needs --trt or --trt-rtx; an ONNX file takes any number of vertices")
    try:
        source = options.model or shipped("model.onnx")
        if options.target == "onnx":
            _print(export_onnx(source, options.out, options.precision, options.head))
        else:
            report = export_engine(
                source,
                options.out,
                options.target,
                precision=options.precision,
                capability=options.compute_capability,
                profile=Profile(*options.profile) if options.profile else DEFAULT_PROFILE,
                head=options.head,
            )
            _print(report.measured)
            _print_engine(report)
    except RafError as error:
        sys.stderr.write(f"raf-export: {error}\n")
        return 2
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


def _print(measured: tuple[Measured, ...]) -> None:
    for each in measured:
        sys.stdout.write(
            f"{each.hop}, {each.vertices} vertices: within {each.millimetres:.2g} mm ({each.allowed:g} allowed)\n"
        )


def _print_engine(report: EngineReport) -> None:
    sys.stdout.write(f"the engine, built by {report.builder}: inputs, outputs and profile are right\n")
    if report.unverified:
        sys.stdout.write(
            f"the engine's VALUES ARE UNVERIFIED on this machine: {report.unverified}. Compare them where it will "
            "run, by building it there with this command\n"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raf-export",
        description="Turn trained weights, or a model file, into a model file for raf_sdk.Rigger(model=...) or a "
        "TensorRT engine. Nothing is written unless every step gives the numbers of the one before it, on a real head "
        "at 200 to 60,000 vertices.",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        metavar="MODEL",
        help="weights.safetensors of raf-train, or an .onnx file; the model that ships by default",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, help="the file to write")
    target = parser.add_mutually_exclusive_group()
    target.set_defaults(target="onnx")
    for flag, value, text in (
        ("--onnx", "onnx", "write an ONNX file (the default)"),
        ("--trt", "tensorrt", "build a TensorRT engine for the GPU in this machine"),
        ("--trt-rtx", "tensorrt_rtx", "build a TensorRT-RTX engine, ahead of time with --compute-capability"),
    ):
        target.add_argument(flag, dest="target", action="store_const", const=value, help=text)
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16"),
        help="what to compute in; that of MODEL by default (weights: fp32)",
    )
    parser.add_argument(
        "--compute-capability", metavar="X.Y", help="GPU to build for, such as 7.5 (T4), on any machine"
    )
    parser.add_argument(
        "--profile",
        type=_profile,
        metavar="MIN,OPT,MAX",
        help=f"numbers of vertices that the engine takes and is fastest at, by default {DEFAULT_PROFILE}",
    )
    parser.add_argument(
        "--head", type=Path, metavar="FILE", help="head to judge by, in place of the example head"
    )
    return parser


def _profile(text: str) -> tuple[int, int, int]:
    minimum, optimum, maximum = (int(part) for part in text.split(","))
    return minimum, optimum, maximum


if __name__ == "__main__":
    raise SystemExit(main())
