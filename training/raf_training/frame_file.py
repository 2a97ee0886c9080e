"""The networks that find the canonical frame as ONNX files, which is what the runtime reads.

Weights are kept in half precision, and computed with in single.

Source: ONNX operators of opset 17.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from raf_runtime.frame_networks import CELLS, CHANNELS, MAPS, OUTPUTS

__all__ = ["Layers", "write_network"]

# Weight and bias of each layer: (C_out, C_in, 3, 3) and (C_out,), or (C_out, C_in) and (C_out,).
Layers = list[tuple[NDArray[np.floating], NDArray[np.floating]]]

_OPSET, _IR_VERSION = 17, 8
_BATCH: Final = "B"


class _Graph:
    """Nodes one after the other; ``x`` is what the last one gives."""

    def __init__(self, x: str) -> None:
        self.x = x
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, operator: str, *weights: NDArray[np.floating], **attributes: Any) -> None:
        """Apply an operator to what the last one gave and to weights."""
        number = len(self.nodes)
        names: list[str] = []
        for part, weight in zip(("weight", "bias"), weights, strict=False):
            name = f"{part}_{number}"
            self.weights.append(numpy_helper.from_array(weight.astype(np.float16), f"{name}_half"))
            self.nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
            names.append(name)
        result = f"{operator.lower()}_{number}"
        self.nodes.append(helper.make_node(operator, [self.x, *names], [result], **attributes))
        self.x = result


def write_network(path: Path, convolution: Layers, head: Layers) -> None:
    """Write convolutions of 3 x 3 cells, all but the first in steps of two cells, and a perceptron.

    Parameters
    ----------
    path : Path
        The ``.onnx`` file; it appears whole or not at all.
    convolution, head
        Their layers; all but the last of the head are rectified.
    """
    graph = _Graph(MAPS)
    graph.add("Transpose", perm=[0, 3, 1, 2])
    for i, layer in enumerate(convolution):
        graph.add("Conv", *layer, kernel_shape=[3, 3], pads=[1] * 4, strides=[1 if i == 0 else 2] * 2)
        graph.add("Relu")
    graph.add("Transpose", perm=[0, 2, 3, 1])
    graph.add("Flatten")
    for i, layer in enumerate(head):
        graph.add("Gemm", *layer, transB=1)
        if i < len(head) - 1:
            graph.add("Relu")
    maps = helper.make_tensor_value_info(MAPS, TensorProto.FLOAT, [_BATCH, CELLS, CELLS, CHANNELS])
    outputs = helper.make_tensor_value_info(graph.x, TensorProto.FLOAT, [_BATCH, OUTPUTS])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "frame", [maps], [outputs], graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="raf-sdk",
    )
    onnx.checker.check_model(model, full_check=True)
    temporary = path.with_name(f".{path.name}")
    onnx.save(model, temporary)
    temporary.replace(path)
