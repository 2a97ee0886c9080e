"""Weights to an ONNX file that the runtime accepts; written only when its numbers are those of torch.

Axis legend: V vertices, K eigenpairs, P poses.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_ATTRIBUTION,
    META_COMMIT,
    META_EIGENPAIRS,
    META_POSES,
    META_VERSION,
    OUTPUT,
)
from raf_runtime.errors import ModelError, OutputError
from raf_training.checkpoint import load_network
from raf_training.network import RigNetwork, SurfaceTensors

__all__ = ["PARITY_SIZES", "TOLERANCE", "export_onnx", "synthetic_inputs"]

OPSET = 20
TRACED_SIZE = 500
# Numbers of vertices at which torch and ONNX Runtime are compared; none is the traced one.
PARITY_SIZES = (200, 5_000, 20_000)
# Largest difference in canonical units: 0.001 mm of a head of 240 mm, which is about five units tall.
TOLERANCE = 2e-5


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
    ) -> Tensor:
        """Call the network, see :mod:`raf_runtime.contract`."""
        return self.network(
            SurfaceTensors(positions, normals, mass, eigenvalues, eigenvectors, gradient_x, gradient_y)
        )


def export_onnx(weights: Path, out: Path) -> dict[int, float]:
    """Export weights of ``raf-train`` and check the result against torch.

    Parameters
    ----------
    weights : Path
        A ``weights.safetensors``.
    out : Path
        The ONNX file to write; only replaced when every check has passed.

    Returns
    -------
    dict
        Number of vertices -> largest difference to torch, in canonical units.

    Raises
    ------
    ModelError
        If the weights cannot be read, answer one pose at a time, or the exported graph differs from torch.
    OutputError
        If the file cannot be written.
    """
    network, about = load_network(weights)
    config = network.config
    if config.pose_blocks:
        raise ModelError(f"{weights} answers one pose at a time; the contract wants all poses in one run")
    if not out.parent.is_dir():
        raise OutputError(f"folder {out.parent} does not exist; make it first")
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".raf-export-") as folder:
            temporary = Path(folder) / "model.onnx"
            _trace(network, temporary)
            _describe(
                temporary,
                {
                    META_VERSION: CONTRACT_VERSION,
                    META_POSES: json.dumps(config.poses),
                    META_EIGENPAIRS: str(config.eigenpairs),
                    META_COMMIT: about.get("commit", "unknown"),
                    META_ATTRIBUTION: about.get("attribution", ""),
                },
            )
            report = _compare(network, temporary)
            temporary.replace(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}") from error
    return report


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


def _trace(network: RigNetwork, path: Path) -> None:
    inputs = synthetic_inputs(TRACED_SIZE, network.config.eigenpairs, 0)
    size = torch.export.Dim("V", min=2)
    dynamic = {name: {0: size} if axes[0] == "V" else None for name, axes in INPUTS.items()}
    # The exporter reports optional packages and its own deprecations; what counts is checked afterwards.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Positional(network).eval(),
            kwargs={name: torch.from_numpy(inputs[name]) for name in INPUTS},
            f=path,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _describe(path: Path, metadata: dict[str, str]) -> None:
    model = onnx.load(path)
    # The exporter notes for every node where in whose home folder its source stands.
    for described in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        described.ClearField("metadata_props")
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _compare(network: RigNetwork, path: Path) -> dict[int, float]:
    """Largest difference to torch at each size; raises where it exceeds the tolerance or nothing moves."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    if names != list(INPUTS) or [value.name for value in session.get_outputs()] != [OUTPUT]:
        raise ModelError(f"the exported graph has inputs {names}, the contract {list(INPUTS)}")
    report: dict[int, float] = {}
    for vertices in PARITY_SIZES:
        inputs = synthetic_inputs(vertices, network.config.eigenpairs, vertices)
        with torch.no_grad():
            expected = network(SurfaceTensors(*(torch.from_numpy(inputs[name]) for name in INPUTS))).numpy()
        try:
            found = np.asarray(session.run([OUTPUT], inputs)[0])
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise ModelError(f"at {vertices} vertices the exported graph does not run: {error}") from error
        if found.shape != expected.shape:
            raise ModelError(
                f"at {vertices} vertices the exported graph gives {found.shape}, torch {expected.shape}"
            )
        report[vertices] = float(np.abs(found - expected).max())
        # Written so that a NaN fails.
        if not report[vertices] <= TOLERANCE:
            raise ModelError(
                f"at {vertices} vertices the exported graph differs from torch by {report[vertices]:.2g} canonical "
                f"units; {TOLERANCE:.0e} is allowed. Nothing was written"
            )
        if not np.abs(found).max() > TOLERANCE:
            raise ModelError(f"at {vertices} vertices the network moves nothing; train it before exporting")
    return report
