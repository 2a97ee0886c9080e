"""A network of the paper's size through the runtime that ours goes through: ONNX Runtime, once for every pose."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from raf_export.onnx_file import OPSET, synthetic_inputs
from raf_runtime.contract import INPUTS, OUTPUT
from raf_runtime.operators import Operators
from raf_training.network import CONFIGS, RigNetwork, SurfaceTensors

__all__ = ["PaperNetwork"]


class _Positional(nn.Module):
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
        pose: Tensor,
    ) -> Tensor:
        surface = SurfaceTensors(positions, normals, mass, eigenvalues, eigenvectors, gradient_x, gradient_y)
        return self.network(surface, pose)


class PaperNetwork:
    """The network with random weights, as a graph; its answers mean nothing, its time does.

    Parameters
    ----------
    folder
        Where the graph is written.
    """

    def __init__(self, folder: Path) -> None:
        config = CONFIGS["paper"]
        self.poses = len(config.poses)
        inputs = synthetic_inputs(500, config.eigenpairs, 0) | {"pose": np.ones(self.poses, np.float32)}
        size = torch.export.Dim("V", min=2)
        dynamic = {name: {0: size} if INPUTS.get(name, (0,))[0] == "V" else None for name in inputs}
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Positional(RigNetwork(config)).eval(),
                kwargs={name: torch.from_numpy(value) for name, value in inputs.items()},
                f=folder / "paper.onnx",
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_shapes=dynamic,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        self._session = onnxruntime.InferenceSession(
            str(folder / "paper.onnx"), providers=["CPUExecutionProvider"]
        )

    def seconds(self, operators: Operators, passes: int) -> float:
        """A whole rig's worth of passes, of which so many run, after one that is not counted."""
        times: list[float] = []
        for pose in np.eye(self.poses, dtype=np.float32)[: passes + 1]:
            start = time.perf_counter()
            self._session.run([OUTPUT], operators.as_inputs() | {"pose": pose})
            times.append(time.perf_counter() - start)
        return self.poses * float(np.median(times[1:]))
