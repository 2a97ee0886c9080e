"""The command ``raf-export``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from raf_export.onnx_file import export_onnx
from raf_runtime.errors import RafError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run ``raf-export``; returns the exit status (2 on an error that the user can mend)."""
    options = _parser().parse_args(arguments)
    try:
        report = export_onnx(options.weights, options.out)
    except RafError as error:
        sys.stderr.write(f"raf-export: {error}\n")
        return 2
    for vertices, difference in report.items():
        sys.stdout.write(f"{vertices:>7} vertices: differs from torch by {difference:.1e} canonical units\n")
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raf-export",
        description="Turn trained weights into a model file for raf_sdk.Rigger(model=...). The file is written only "
        "if ONNX Runtime gives the numbers of torch at several mesh sizes.",
    )
    parser.add_argument("weights", type=Path, metavar="CHECKPOINT", help="weights.safetensors of raf-train")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the .onnx file to write")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
