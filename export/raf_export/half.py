"""The same network in half precision, as a strongly typed graph.

Matrix products, where the time goes, take and give fp16; everything between them stays fp32: softmax, layer norm,
the phases of the Fourier features, the products of gradients (which would overflow), the residual sums. Inputs and
the output are float32 as before. Casts around products are nearly all that changes, so that the graph is rewritten here
instead of by a converter.

Nothing may leave the range of fp16, and the network stays what it is:

- Masses shrink with the number of vertices and would lose their digits beyond some ten thousand. Mass and basis are
  scaled against each other, by powers of two: the spectrum of x is ``((Phi / 8).T 64 M) @ x``, eight times what it
  was, and whatever is made of it goes through ``Phi / 8`` or an eighth of the gradients.
- Gradients are without bound where triangles have collapsed. Those of a vertex, and their sum, are divided by the
  largest of them, and their product multiplied by it.
- Weightings of all vertices, which sum to one, are scaled for their product alone.
- Rounding of a spectrum reaches all vertices. What it leaves out of a spectrum is computed as well, and added.
- The few products of coordinates, which place anchors and describe vertices by them, stay in fp32: their rounding
  shifts what all vertices are told. So do those that spread a spectrum over the vertices, and all that anchors are
  placed by but for the sums over all vertices. These are put down as convolutions and as sums of products:
  TensorRT-RTX has no matrix products in fp32 for a T4.
- Every product takes what it has for each vertex (features, basis, gradients) in two parts, its leading digits and the
  rest: its rounding would be the largest error of all. Weights have the digits of fp16 from training on
  (:func:`raf_training.checkpoint.half_digits`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from raf_runtime.contract import META_PRECISION

__all__ = ["halved"]

_PRODUCTS: Final = ("MatMul", "Gemm")
_SCALES: Final = {"mass": 64.0, "eigenvectors": 0.125}
# Only anchors, and the weights that take them, come from these.
_ANCHORS: Final = ("Pad", "Split", "Reshape")
_GRADIENTS: Final = ("gradient_x", "gradient_y")
# Its products spread a spectrum over the vertices.
_SPREAD: Final = "eigenvectors"
_EIGHTH: Final = 0.125
_WEIGHTING: Final = 256.0


def halved(model: onnx.ModelProto, *, rounded: bool = False) -> onnx.ModelProto:
    """Rewrite a model of ``raf-export`` to half precision.

    Parameters
    ----------
    model : ModelProto
        Computes in fp32; is not changed.
    rounded : bool
        Keep all products in fp32 and round what they take and give to fp16. ONNX Runtime on a CPU computes half
        precision in fp32 and leaves such roundings out; a GPU does not. This graph gives the GPU's numbers on a CPU.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    rewriter = _Rewriter(result.graph, rounded)
    for node in model.graph.node:
        rewriter.take(node)
    rewriter.finish()
    kept = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(result, {**kept, META_PRECISION: "fp16"})
    return result


class _Rewriter:
    """Puts the nodes of a graph down again, one after another."""

    def __init__(self, graph: onnx.GraphProto, rounded: bool) -> None:
        self.graph = graph
        self.rounded = rounded
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        # Features of a network that answers one pose have a first axis of that one.
        self.batched = {
            value.name for value in graph.value_info if len(value.type.tensor_type.shape.dim) == 3
        }
        (self.eigenpairs,) = (
            value.type.tensor_type.shape.dim[0].dim_value
            for value in graph.input
            if value.name == "eigenvalues"
        )
        self.nodes: list[NodeProto] = []
        self.placing = self.before_anchors()
        self.renamed: dict[str, str] = {}
        self.narrow: dict[str, str] = {}
        self.widened: dict[str, str] = {}
        self.rests: dict[str, str] = {}
        # Left factor of a product -> what its result is to be multiplied by.
        self.undo: dict[str, str] = {}
        for name, factor in _SCALES.items():
            self.renamed[name] = self.add("Mul", name, self.constant(factor))
        # One size for both axes: a product may take their sum.
        sizes = [
            self.add("ReduceMax", self.add("Abs", name), self.constant(1, np.int64, shape=1))
            for name in _GRADIENTS
        ]
        size = self.add("Max", *sizes, self.constant(float(np.finfo(np.float32).tiny)))
        for name in _GRADIENTS:
            unit = self.renamed[name] = self.add("Div", name, size)
            self.undo[unit] = self.add("Mul", size, self.constant(_EIGHTH))

    def take(self, node: NodeProto) -> None:
        """Put a node down; products with casts around them."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self.renamed.get(name, name) for name in node.input]
        if node.op_type not in _PRODUCTS:
            self.nodes.append(copy)
            if node.op_type == "Add" and set(node.input) == set(_GRADIENTS):
                self.undo[node.output[0]] = self.undo[copy.input[0]]
            return
        exact = self.is_exact(node)
        if not exact and self.is_weighting(node.input[0]):
            copy.input[0] = self.add("Mul", copy.input[0], self.constant(_WEIGHTING))
            self.undo[copy.input[0]] = self.constant(1 / _WEIGHTING)
        undo, output = self.undo.get(copy.input[0]), node.output[0]
        wide = output if undo is None else f"{output}_scaled"
        if exact:
            self.exactly(copy, wide)
        elif self.is_to_spectrum(node):
            self.with_remainder(copy, wide)
        else:
            self.in_two(copy, wide)
        if undo is not None:
            self.nodes.append(helper.make_node("Mul", [wide, undo], [output]))

    def exactly(self, node: NodeProto, result: str) -> None:
        """Put a product down in fp32, as a convolution over the vertices or as a sum of products of numbers."""
        left, right = node.input[:2]
        if node.op_type == "Gemm" or left in (self.renamed[_SPREAD], *self.undo):
            if batched := right in self.batched:
                right = self.add("Squeeze", right, self.axes(0))
            kernel = right if node.op_type == "Gemm" else self.add("Transpose", right)
            image = self.add("Unsqueeze", self.add("Transpose", left), self.axes(0, 3))  # (1, K, V, 1)
            seen = self.add("Conv", image, self.add("Unsqueeze", kernel, self.axes(2, 3)))
            summed = self.add("Transpose", self.add("Squeeze", seen, self.axes(0, 3)))
            if batched:
                summed = self.add("Unsqueeze", summed, self.axes(0))
        elif self.makers[right].op_type == "Pad":  # all vertices' coordinates
            products = self.add("Mul", self.add("Unsqueeze", left, self.axes(2)), right)
            summed = self.add("ReduceSum", products, self.axes(1), keepdims=0)
        else:  # a matrix and a vector
            summed = self.add("ReduceSum", self.add("Mul", left, right), self.axes(1), keepdims=0)
        bias = node.input[2] if len(node.input) > 2 else self.constant(0.0)
        self.nodes.append(helper.make_node("Add", [summed, bias], [result]))

    def in_two(self, node: NodeProto, result: str) -> None:
        """Put a product down, once for the leading digits of the left factor and once for the rest."""
        self.nodes.append(helper.make_node("Add", self.two_products(node, result), [result]))

    def two_products(self, node: NodeProto, result: str) -> list[str]:
        """Names of the products of the left factor's leading digits and of the rest."""
        values = node.input[0]
        leading = self.halve(values)
        if values not in self.rests:
            self.rests[values] = self.add("Sub", values, self.wide(leading))
        rest = self.rests[values]
        parts = [f"{result}_leading", f"{result}_rest"]
        for part, digits, count in zip(parts, (leading, rest), (len(node.input), 2), strict=True):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = part
            inputs = list(node.input[:count])  # a bias is added once
            inputs[0] = digits
            self.product(copy, [digits if name == leading else self.halve(name) for name in inputs], part)
        return parts

    def with_remainder(self, node: NodeProto, result: str) -> None:
        """Put a product down, and add what the rounding of its result has left out.

        With the rounded result S of L X, ``[-1, L] [S; X]`` is L X - S, which is small: its own rounding is nothing.
        """
        left, right = (self.halve(name) for name in node.input)
        leading, rest = self.two_products(node, result)
        minus = numpy_helper.from_array(-np.eye(self.eigenpairs, dtype=np.float32), "minus_identity")
        self.weights[minus.name] = minus
        below = self.add("Concat", self.narrow[leading], right, axis=-2)
        remainder = helper.make_node("MatMul", [], [""], name=f"{result}_remainder")
        beside = self.add("Concat", self.halve(minus.name), left, axis=1)
        self.product(remainder, [beside, below], remainder.name)
        # From where the remainder takes it: ONNX Runtime on a CPU does not round what is cast there and back.
        rounded = self.add("Slice", below, self.axes(0), self.axes(self.eigenpairs), self.axes(-2))
        self.nodes.append(helper.make_node("Sum", [self.wide(rounded), rest, remainder.name], [result]))

    def product(self, node: NodeProto, inputs: list[str], result: str) -> None:
        """Put a product of rounded factors down; ``result`` is what it gives, rounded, in fp32."""
        half = f"{result}_half"
        node.input[:] = inputs
        node.output[0] = f"{result}_exact" if self.rounded else half
        self.nodes.append(node)
        if self.rounded:
            self.cast(node.output[0], half, TensorProto.FLOAT16)
        self.cast(half, result, TensorProto.FLOAT)
        # Where a product takes this one's result, it takes what there is already.
        self.narrow[result] = result if self.rounded else half

    def wide(self, half: str) -> str:
        """Name of a rounded tensor in fp32."""
        if self.rounded:
            return half
        if half not in self.widened:
            self.widened[half] = f"{half}_wide"
            self.cast(half, self.widened[half], TensorProto.FLOAT)
        return self.widened[half]

    def finish(self) -> None:
        """Exchange the graph's nodes, and leave out the weights that nothing takes any more."""
        taken = {name for node in self.nodes for name in node.input}
        for field in (self.graph.node, self.graph.initializer, self.graph.value_info):
            del field[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(tensor for tensor in self.weights.values() if tensor.name in taken)

    def is_exact(self, node: NodeProto) -> bool:
        """Whether a product stays in fp32."""
        left = node.input[0]
        if node.output[0] in self.placing and (
            node.op_type == "Gemm" or self.renamed.get(left, left) in self.undo
        ):
            return True
        return left == _SPREAD or any(self.is_of_places(name) for name in node.input[:2])

    def is_to_spectrum(self, node: NodeProto) -> bool:
        """Whether a product takes features to their spectrum."""
        maker = self.makers.get(node.input[0])
        return maker is not None and maker.op_type == "Mul" and "mass" in maker.input

    def before_anchors(self) -> set[str]:
        """Names of all tensors that the weights of the anchors are made of."""
        found: set[str] = set()
        pads = {name for name, node in self.makers.items() if node.op_type == "Pad"}
        queue = [node.input[0] for node in self.graph.node if pads & set(node.input)]
        while queue:
            name = queue.pop()
            if name in self.makers and name not in found:
                found.add(name)
                queue += self.makers[name].input
        return found

    def is_of_places(self, name: str) -> bool:
        """Whether a tensor holds coordinates: features with positions among them, or what makes or takes anchors."""
        maker = self.makers.get(name)
        if maker is None:
            return False
        if maker.op_type != "Concat":
            # Channels are split as well; that of weights is the anchors'.
            return maker.op_type in _ANCHORS and (maker.op_type != "Split" or maker.input[0] in self.weights)
        makers = [self.makers.get(part) for part in maker.input]
        return "positions" in maker.input or any(made and made.op_type == "Concat" for made in makers)

    def is_weighting(self, name: str) -> bool:
        """Whether a tensor is a softmax or a quotient, maybe transposed."""
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "Transpose":
            return self.is_weighting(maker.input[0])
        return maker is not None and maker.op_type in ("Softmax", "Div")

    def halve(self, name: str) -> str:
        """Name of a tensor rounded to fp16."""
        if name not in self.narrow:
            half = self.narrow[name] = f"{name}_half"
            if name in self.weights:
                values = numpy_helper.to_array(self.weights[name]).astype(np.float16)
                self.weights[half] = numpy_helper.from_array(values, half)
            else:
                self.cast(name, half, TensorProto.FLOAT16)
            if self.rounded:
                self.narrow[name] = f"{name}_rounded"
                self.cast(half, self.narrow[name], TensorProto.FLOAT)
        return self.narrow[name]

    def constant(self, value: float, dtype: type[np.generic] = np.float32, shape: int | None = None) -> str:
        """Name of a constant."""
        name = f"{np.dtype(dtype).name}_{value:g}"
        array = np.full(() if shape is None else (shape,), value, dtype=dtype)
        self.weights[name] = numpy_helper.from_array(array, name)
        return name

    def axes(self, *values: int) -> str:
        """Name of a constant that lists axes."""
        name = f"axes_{'_'.join(map(str, values))}"
        self.weights[name] = numpy_helper.from_array(np.array(values, np.int64), name)
        return name

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Put a node down; returns the name of its result."""
        result = f"{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [result], **attributes))
        return result

    def cast(self, name: str, result: str, to: int) -> None:
        """Put a cast down."""
        self.nodes.append(helper.make_node("Cast", [name], [result], to=to))
