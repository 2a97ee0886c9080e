"""A network of the paper's size through the runtime that ours goes through, once for every pose."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from raf_export.trace import graph_of
from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.contract import POSE_INPUT
from raf_runtime.operators import Operators
from raf_training.network import CONFIGS, RigNetwork

__all__ = ["PaperNetwork"]


class PaperNetwork:
    """The network with random weights; its answers mean nothing, its time does.

    Parameters
    ----------
    folder
        Where the graph is written.
    """

    def __init__(self, folder: Path) -> None:
        config = CONFIGS["paper"]
        self.poses = len(config.poses)
        path = folder / "paper.onnx"
        path.write_bytes(graph_of(RigNetwork(config)).SerializeToString())
        self._backend = OnnxRuntimeBackend.open(path, "cpu", None)

    def seconds(self, operators: Operators, passes: int) -> float:
        """A whole rig's worth of passes, of which so many run, after one that is not counted."""
        times: list[float] = []
        for pose in np.eye(self.poses, dtype=np.float32)[: passes + 1]:
            start = time.perf_counter()
            self._backend.run(operators.as_inputs() | {POSE_INPUT: pose})
            times.append(time.perf_counter() - start)
        return self.poses * float(np.median(times[1:]))
