"""The first hop: from trained weights to an fp32 graph.

Axis legend: V vertices, K eigenpairs, P poses.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raf_export.gate import TOLERANCE, compare
from raf_export.model import Model, run_with_onnxruntime
from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_ATTRIBUTION,
    META_COMMIT,
    META_EIGENPAIRS,
    META_POSED,
    META_POSES,
    META_PRECISION,
    META_VERSION,
    OUTPUT,
    POSE_INPUT,
)
from raf_training.checkpoint import load_network
from raf_training.network import RigNetwork, SurfaceTensors

__all__ = ["graph_of", "synthetic_inputs", "traced"]

OPSET = 20
TRACED_SIZE = 500


def traced(weights: Path, head: Path | None) -> Model:
    """Export weights, and compare the graph with the network in double precision.

    In single precision torch's own sums over 60,000 vertices are off by more than a graph may be.

    Parameters
    ----------
    weights : Path
        A ``weights.safetensors`` of ``raf-train``.
    head : Path, optional
        The head that the graph is judged on; the example head by default.

    Raises
    ------
    ModelError
        If the weights cannot be read or the graph is not the network.
    MeshError
        If the head cannot be used.
    """
    network, about = load_network(weights)
    config = network.config
    posed = bool(config.pose_blocks)
    graph = graph_of(network)
    metadata = {
        META_VERSION: CONTRACT_VERSION,
        META_POSES: json.dumps(config.poses),
        META_EIGENPAIRS: str(config.eigenpairs),
        META_POSED: str(int(posed)),
        META_PRECISION: "fp32",
        META_COMMIT: about.get("commit", "unknown"),
        META_ATTRIBUTION: about.get("attribution", ""),
    }
    onnx.helper.set_model_props(graph, metadata)
    onnx.checker.check_model(graph, full_check=True)
    model = Model(graph)
    network.double()

    def before(inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.floating]:
        tensors = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
        pose = tensors.pop(POSE_INPUT, None)
        with torch.no_grad():
            return network(SurfaceTensors(**tensors), pose).numpy()

    heads = model.heads(head)
    measured = compare("the fp32 graph", before, run_with_onnxruntime(graph), heads, TOLERANCE["fp32"])
    return Model(graph, tuple(measured))


def graph_of(network: RigNetwork) -> onnx.ModelProto:
    """Trace a network; the graph has no metadata yet."""
    inputs = synthetic_inputs(TRACED_SIZE, network.config.eigenpairs, 0)
    size = torch.export.Dim("V", min=2)
    dynamic = {name: {0: size} if axes[0] == "V" else None for name, axes in INPUTS.items()}
    if network.config.pose_blocks:
        inputs[POSE_INPUT] = np.ones(len(network.config.poses), dtype=np.float32)
        dynamic[POSE_INPUT] = None
    # The exporter reports optional packages and its own deprecations; what counts is checked afterwards.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            _Positional(network).eval(),
            kwargs={name: torch.from_numpy(value) for name, value in inputs.items()},
            input_names=list(inputs),
            output_names=[OUTPUT],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    graph: onnx.ModelProto = program.model_proto
    # The exporter notes for every node where in whose home folder its source stands.
    for described in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        described.ClearField("metadata_props")
    return graph


def synthetic_inputs(vertices: int, eigenpairs: int, seed: int) -> dict[str, np.ndarray]:
    """Random inputs of the shapes and magnitudes of a real head; only good for comparing implementations."""
    rng = np.random.default_rng(seed)
    normals = rng.standard_normal((vertices, 3))
    # A head has an area of about 60 square units.
    basis = rng.standard_normal((3, vertices, eigenpairs)) / np.sqrt(60)
    return {
        name: value.astype(np.float32)
        for name, value in {
            "positions": rng.uniform(-3, 3, (vertices, 3)),
            "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
            "mass": rng.uniform(0.5, 1.5, vertices) * 60 / vertices,
            "eigenvalues": np.linspace(0, 30, eigenpairs),
            "eigenvectors": basis[0],
            "gradient_x": 3 * basis[1],
            "gradient_y": 3 * basis[2],
        }.items()
    }


class _Positional(nn.Module):
    """The network with the contract's tensors as its arguments."""

    def __init__(self, network: RigNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        positions: Tensor,
        normals: Tensor,
        mass: Tensor,
        eigenvalues: Tensor,
        eigenvectors: Tensor,
        gradient_x: Tensor,
        gradient_y: Tensor,
        pose: Tensor | None = None,
    ) -> Tensor:
        """Call the network, see :mod:`raf_runtime.contract`."""
        surface = SurfaceTensors(positions, normals, mass, eigenvalues, eigenvectors, gradient_x, gradient_y)
        return self.network(surface, pose)
