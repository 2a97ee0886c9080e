"""Half precision: what is rounded, that nothing else changes, and that nothing leaves the range of fp16."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from raf_export import half
from raf_export.half import halved
from raf_export.trace import graph_of, synthetic_inputs
from raf_runtime.contract import INPUTS, META_PRECISION, OUTPUT
from raf_training.network import NetworkConfig, RigNetwork

K = 8
Inputs = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module", params=[True, False], ids=["readouts", "plain"])
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """A small network of the ``default`` kind, that moves."""
    torch.manual_seed(0)
    config = NetworkConfig(
        eigenpairs=K,
        width=16,
        gradients=8,
        trunk_blocks=2,
        encoder_width=8,
        encoder_gradients=4,
        encoder_blocks=1,
        anchors=3,
        frequencies=2,
        poses=("jawOpen", "mouthPucker"),
        strangers=True,
        families=("one", "two"),
        readouts=request.param,
    )
    network = RigNetwork(config)
    for parameter in network.head[-1].parameters():
        nn.init.normal_(parameter, std=0.1)
    assert network.judge is not None and network.strange is not None
    nn.init.normal_(network.strange)
    nn.init.normal_(network.judge.middle)
    nn.init.normal_(network.judge.whitening, std=0.1)
    if network.readouts is not None:
        for parameter in network.readouts.parameters():
            nn.init.normal_(parameter, std=0.1)
    return graph_of(network.eval())


def run(model: onnx.ModelProto, inputs: Inputs) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([OUTPUT], inputs)[0])


def error(model: onnx.ModelProto, inputs: Inputs, rounded: bool = True) -> NDArray[np.float64]:
    """Of each vertex, as a share of the largest motion."""
    expected = run(model, inputs)
    difference = np.linalg.norm(run(halved(model, rounded=rounded), inputs) - expected, axis=2).max(axis=0)
    return difference.astype(np.float64) / np.linalg.norm(expected, axis=2).max()


@pytest.mark.parametrize("vertices", [150, 3_000, 100_000])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_network_stays_what_it_is(model: onnx.ModelProto, vertices: int, rounded: bool) -> None:
    inputs = synthetic_inputs(vertices, K, seed=vertices)
    largest = error(model, inputs, rounded).max()
    assert 0 < largest < 0.01


def test_softmaxes_have_an_axis_more(model: onnx.ModelProto) -> None:
    """TensorRT refuses those of vectors."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    assert {ranks[node.input[0]] for node in graph.node if node.op_type == "Softmax"} == {2}


def test_matrix_products_but_those_of_coordinates_and_spectra_are_in_half_precision(
    model: onnx.ModelProto,
) -> None:
    narrow = halved(model)
    onnx.checker.check_model(narrow, full_check=True)
    graph = onnx.shape_inference.infer_shapes(narrow, strict_mode=True).graph
    types = {
        **{
            value.name: value.type.tensor_type.elem_type
            for value in (*graph.input, *graph.value_info, *graph.output)
        },
        **{tensor.name: tensor.data_type for tensor in graph.initializer},
    }
    assert {types[name] for name in (*INPUTS, OUTPUT)} == {TensorProto.FLOAT}
    exact = ("Conv", "ReduceSum")
    products, sums = 0, list[str]()
    for node in graph.node:
        used = {
            types[name] for name in (*node.input, *node.output) if types.get(name) in (1, TensorProto.FLOAT16)
        }
        if node.op_type in ("MatMul", "Gemm"):
            assert used == {TensorProto.FLOAT16}, node
            products += 1
        elif node.op_type in ("Concat", "Slice"):
            assert len(used) == 1, node
        elif node.op_type != "Cast":
            assert used <= {TensorProto.FLOAT}, node
            sums += [node.op_type] if node.op_type in exact else []
    # Two layers take positions, and each of three blocks spreads its spectrum over the vertices; anchors are placed,
    # and weights take them and the global vector; they are placed by a block's two mixing layers, what maps its
    # spectrum, five products of gradients, and the layer that attends.
    fresh = len(sums) - sum(node.op_type in exact for node in model.graph.node)
    assert fresh == (2 + 3) + 3 + (2 + 1 + 5 + 1)
    given = sum(node.op_type in ("MatMul", "Gemm") for node in model.graph.node)
    # All others are there twice, for the leading digits of what vertices have and for the rest; what takes features to
    # their spectrum, in three blocks, a third time, for what was rounded.
    assert products == 2 * (given - fresh) + 3 > 24


def test_it_says_so(model: onnx.ModelProto) -> None:
    described = onnx.ModelProto()
    described.CopyFrom(model)
    helper.set_model_props(described, {META_PRECISION: "fp32", "raf.attribution": "nobody"})
    said = {entry.key: entry.value for entry in halved(described).metadata_props}
    assert said == {META_PRECISION: "fp16", "raf.attribution": "nobody"}
    assert {entry.key: entry.value for entry in described.metadata_props}[META_PRECISION] == "fp32"


def test_roundings_are_those_of_a_gpu() -> None:
    """fp16 factors, a sum in fp32, a result in fp16: against NumPy, on two products in a row, each in two parts."""
    random = np.random.default_rng(1)
    first, second = (random.standard_normal((3, 3)).astype(np.float32) for _ in range(2))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["positions", "first"], ["between"]),
            helper.make_node("MatMul", ["between", "second"], [OUTPUT]),
        ],
        "products",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in INPUTS.items()],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ("V", 3))],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    products = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    inputs = synthetic_inputs(50, K, seed=0)
    value = inputs["positions"]

    def half(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return array.astype(np.float16).astype(np.float32)

    for factor in (first, second):
        leading = half(value)
        value = half(leading @ half(factor)) + half(half(value - leading) @ half(factor))
    np.testing.assert_array_equal(run(halved(products, rounded=True), inputs), value)


def test_a_collapsed_vertex_harms_nobody_else(model: onnx.ModelProto) -> None:
    """Its gradients are beyond fp16 by far and its mass is below; one that is padding has neither."""
    inputs = synthetic_inputs(500, K, seed=2)
    inputs["mass"][7] *= 1e-9
    inputs["gradient_x"][7] *= 1e9
    inputs["gradient_y"][7] *= 1e9
    inputs["gradient_x"][8] = inputs["gradient_y"][8] = 0
    assert np.isfinite(run(halved(model), inputs)).all()
    assert np.delete(error(model, inputs), 7).max() < 0.01


def test_masses_keep_their_digits(model: onnx.ModelProto) -> None:
    """What is rounded is no smaller at 100,000 vertices than fp16 can hold with all its digits."""
    inputs = synthetic_inputs(100_000, K, seed=3)
    narrow = halved(model)
    casts = {node.output[0]: node.input[0] for node in narrow.graph.node if node.op_type == "Cast"}
    makers = {name: node for node in narrow.graph.node for name in node.output}
    factors = {casts[node.input[0]] for node in narrow.graph.node if node.input and node.input[0] in casts}
    weighted = [
        name
        for name in factors
        if makers[name].op_type == "Mul"
        if any(makers[part].op_type == "Transpose" for part in makers[name].input if part in makers)
    ]
    assert weighted
    for name in weighted:
        narrow.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(narrow.SerializeToString(), providers=["CPUExecutionProvider"])
    for value in session.run(weighted, inputs):
        # 6.4 times measured.
        assert np.median(np.abs(np.asarray(value))) > 5 * np.finfo(np.float16).smallest_normal


def test_scaling_is_exact() -> None:
    """By powers of two, that cancel."""
    mass, basis = half._SCALES["mass"], half._SCALES["eigenvectors"]
    assert mass * basis**2 == 1 and half._EIGHTH == basis
    assert all(np.frexp(factor)[0] == 0.5 for factor in (mass, basis, half._WEIGHTING))
