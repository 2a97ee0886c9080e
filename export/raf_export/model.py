"""Model files: reading them, what they say of themselves, and running them on the CPU.

Axis legend: V vertices, K eigenpairs, P poses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError

from raf_export.gate import Measured, Run
from raf_export.heads import SIZES, GateHead, gate_heads
from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_EIGENPAIRS,
    META_POSED,
    META_POSES,
    META_PRECISION,
    META_VERSION,
    OUTPUT,
    POSE_INPUT,
    Precision,
)
from raf_runtime.errors import ModelError, ModelFileNotFoundError

__all__ = ["Model", "read_model", "run_with_onnxruntime"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model in memory that has passed its gates.

    Attributes
    ----------
    graph : ModelProto
        With its metadata.
    measured : tuple of Measured
        What its gates measured.
    """

    graph: onnx.ModelProto
    measured: tuple[Measured, ...] = ()

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, see :mod:`raf_runtime.contract`."""
        return {entry.key: entry.value for entry in self.graph.metadata_props}

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return "fp16" if self.metadata.get(META_PRECISION) == "fp16" else "fp32"

    @property
    def content(self) -> bytes:
        """The ONNX file."""
        return self.graph.SerializeToString()

    @property
    def posed(self) -> bool:
        """Whether it answers one pose at a time."""
        return self.metadata.get(META_POSED) == "1"

    @property
    def poses(self) -> int:
        """P."""
        return len(json.loads(self.metadata[META_POSES]))

    @property
    def tensors(self) -> dict[str, tuple[str | int, ...]]:
        """Names and shapes of the inputs, then of the output, by the contract; only ``"V"`` is left open."""
        lengths: dict[str | int, int] = {"K": int(self.metadata[META_EIGENPAIRS]), "P": self.poses}
        axes: dict[str, tuple[str | int, ...]] = {
            **INPUTS,
            **({POSE_INPUT: ("P",)} if self.posed else {}),
            OUTPUT: (1 if self.posed else "P", "V", 3),
        }
        return {name: tuple(lengths.get(axis, axis) for axis in shape) for name, shape in axes.items()}

    def heads(self, head: Path | None) -> list[GateHead]:
        """Heads to judge it on, each in another pose if it answers one at a time."""
        heads = gate_heads(int(self.metadata[META_EIGENPAIRS]), head, SIZES)
        if not self.posed:
            return heads
        return [each.posed(i * self.poses // len(heads), self.poses) for i, each in enumerate(heads)]


def read_model(path: Path) -> Model:
    """Read an ONNX file.

    Raises
    ------
    ModelFileNotFoundError, ModelError
        If there is none, or it is not a model of this package.
    """
    if not path.is_file():
        raise ModelFileNotFoundError(f"model {path} does not exist; make one with `raf-export`")
    try:
        graph = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(graph, full_check=True)
        model = Model(graph)
        version, eigenpairs = model.metadata[META_VERSION], int(model.metadata[META_EIGENPAIRS])
        poses: object = json.loads(model.metadata[META_POSES])
    except (DecodeError, ValueError, KeyError, ValidationError, InferenceError) as error:
        raise ModelError(f"{path} is not a model of raf-sdk ({error})") from error
    if version != CONTRACT_VERSION or not 1 <= eigenpairs <= 1024 or not isinstance(poses, list) or not poses:
        raise ModelError(f"{path} does not follow contract {CONTRACT_VERSION} of raf-sdk; export it again")
    return model


def run_with_onnxruntime(graph: onnx.ModelProto) -> Run:
    """A function that runs a graph on the CPU.

    Raises
    ------
    ModelError
        If the graph cannot be loaded or has not the names, axes and types of the contract.
    """
    try:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        raise ModelError(f"the graph cannot be loaded by ONNX Runtime: {error}") from error
    wanted = [(name, shape, "tensor(float)") for name, shape in Model(graph).tensors.items()]
    found = [(t.name, tuple(t.shape), t.type) for t in (*session.get_inputs(), *session.get_outputs())]
    if found != wanted:
        raise ModelError(f"the graph has the tensors {found}, the contract {wanted}")

    def run(inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.floating]:
        try:
            return np.asarray(session.run([OUTPUT], inputs)[0])
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise ModelError(str(error)) from error

    return run
