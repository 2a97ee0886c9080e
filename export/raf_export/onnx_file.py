"""Weights, or a model file, to an ONNX file that the runtime accepts; written only when its numbers are right."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import onnx

from raf_export.gate import TOLERANCE, Measured, compare
from raf_export.half import halved
from raf_export.model import Model, read_model, run_with_onnxruntime
from raf_export.trace import traced
from raf_runtime.contract import Precision
from raf_runtime.errors import ModelError, OutputError, RafError

__all__ = ["export_onnx", "open_model", "temporary_folder"]


def export_onnx(
    source: Path, out: Path, precision: Precision | None = None, head: Path | None = None
) -> tuple[Measured, ...]:
    """Export a model and check every hop on the way.

    Parameters
    ----------
    source : Path
        A ``weights.safetensors`` of ``raf-train``, or an ONNX file of this function.
    out : Path
        The ONNX file to write; only replaced when every check has passed.
    precision : str, optional
        What the graph computes in; that of the source by default, where weights are fp32.
    head : Path, optional
        The head that the hops are judged on; the example head by default.

    Returns
    -------
    tuple of Measured
        The largest difference of each hop on each head.

    Raises
    ------
    ModelError
        If the source cannot be read or a hop fails its gate.
    MeshError
        If the head cannot be used.
    OutputError
        If the file cannot be written.
    """
    with temporary_folder(out) as folder:
        model = open_model(source, precision, head)
        temporary = folder / "model.onnx"
        temporary.write_bytes(model.content)
        temporary.replace(out)
    return model.measured


def open_model(source: Path, precision: Precision | None = None, head: Path | None = None) -> Model:
    """Bring weights or a model file to a precision, hop by hop; see :func:`export_onnx`."""
    model = read_model(source) if source.suffix == ".onnx" else traced(source, head)
    if precision in (None, model.precision):
        return model
    if model.precision == "fp16":
        raise ModelError(f"{source} is in half precision already; export its weights to get {precision}")
    half = halved(model.graph)
    onnx.checker.check_model(half, full_check=True)
    before = run_with_onnxruntime(model.graph)
    measured = list(model.measured)
    for hop, graph in (
        ("the fp16 graph", half),
        ("the fp16 graph with a GPU's roundings", halved(model.graph, rounded=True)),
    ):
        measured += compare(hop, before, run_with_onnxruntime(graph), model.heads(head), TOLERANCE["fp16"])
    return Model(half, tuple(measured))


@contextmanager
def temporary_folder(out: Path) -> Generator[Path]:
    """A folder beside ``out`` that goes away, so that renaming moves no data.

    Raises
    ------
    OutputError
        If there is no folder to write to, or writing fails in the block.
    """
    if not out.parent.is_dir():
        raise OutputError(f"folder {out.parent} does not exist; make it first")
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".raf-export-") as folder:
            yield Path(folder)
    except RafError:
        raise  # some of them are OSErrors
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}") from error
