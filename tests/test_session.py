"""The session against synthetic models of a kilobyte: what it accepts, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

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
)
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError
from raf_runtime.operators import Operators
from raf_runtime.session import Session

POSES = ["jawOpen", "mouthClose"]
METADATA = {
    META_VERSION: CONTRACT_VERSION,
    META_POSES: json.dumps(POSES),
    META_EIGENPAIRS: "4",
    "raf.attribution": "nobody",
}


def write_model(
    path: Path,
    metadata: Mapping[str, str] = METADATA,
    inputs: Sequence[str] = tuple(INPUTS),
    output: str = OUTPUT,
    factors: Sequence[float] = (1.0, 2.0),
) -> Path:
    """A model whose pose i moves every vertex by ``factors[i]`` times its position."""
    axes = {**INPUTS, "scan": ("V", 3)}
    graph = helper.make_graph(
        [helper.make_node("Mul", [inputs[0], "factors"], [output])],
        "synthetic",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes[name]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ("P", "V", 3))],
        [helper.make_tensor("factors", TensorProto.FLOAT, (len(factors), 1, 1), factors)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(metadata))
    onnx.save(model, path)
    return path


def write_posed_model(path: Path, posed: str = "1", factors: Sequence[float] = (1.0, 2.0)) -> Path:
    """A model that moves every vertex by its position times the factor of the pose that it is given."""
    axes = {**INPUTS, POSE_INPUT: ("P",)}
    graph = helper.make_graph(
        [
            helper.make_node("ArgMax", [POSE_INPUT], ["row"]),
            helper.make_node("Gather", ["factors", "row"], ["factor"]),
            helper.make_node("Mul", ["positions", "factor"], ["moved"]),
            helper.make_node("Unsqueeze", ["moved", "first"], [OUTPUT]),
        ],
        "synthetic",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes[name]) for name in axes],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (1, "V", 3))],
        [
            helper.make_tensor("factors", TensorProto.FLOAT, (len(factors),), factors),
            helper.make_tensor("first", TensorProto.INT64, (1,), [0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {**METADATA, META_POSED: posed})
    onnx.save(model, path)
    return path


def operators(vertices: int = 7, eigenpairs: int = 4) -> Operators:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape).astype(np.float32)

    basis = (normal(vertices, eigenpairs) for _ in range(3))
    return Operators(
        normal(vertices, 3), normal(vertices, 3), abs(normal(vertices)), abs(normal(eigenpairs)), *basis
    )


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_runs_a_model_that_keeps_the_contract(tmp_path: Path, device: str) -> None:
    session = Session(write_model(tmp_path / "model.onnx"), device)
    assert device == "auto" or session.device == device
    assert session.poses == tuple(POSES)
    assert session.eigenpairs == 4
    assert session.metadata["raf.attribution"] == "nobody"
    for vertices in (7, 3):
        inputs = operators(vertices)
        result = session.run(inputs)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, [inputs.positions, 2 * inputs.positions])


def test_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelFileNotFoundError, match="raf-export"):
            Session(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08" + bytes(50)])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        Session(path)


def test_a_truncated_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        Session(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({META_VERSION: "99"}, "follows contract 99; this raf-sdk reads contract 1"),
        ({META_POSES: "[jawOpen"}, "damaged metadata"),
        ({META_POSES: "[]"}, "names no poses"),
        ({META_POSES: "[1, 2]"}, "names no poses"),
        ({META_POSES: '{"jawOpen": 0}'}, "names no poses"),
        ({META_PRECISION: "int8"}, "raf.precision is 'int8'"),
        ({META_EIGENPAIRS: "many"}, "damaged metadata"),
        ({META_EIGENPAIRS: "0"}, "asks for 0 eigenpairs"),
        ({META_EIGENPAIRS: "-5"}, "asks for -5 eigenpairs"),
        ({META_EIGENPAIRS: "1000000000"}, "asks for 1000000000 eigenpairs"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = write_model(tmp_path / "model.onnx", {**METADATA, **changes})
    with pytest.raises(ModelError, match=message):
        Session(path)


@pytest.mark.parametrize("missing", [META_POSES, META_EIGENPAIRS])
def test_metadata_that_is_incomplete(tmp_path: Path, missing: str) -> None:
    rest = {key: value for key, value in METADATA.items() if key != missing}
    with pytest.raises(ModelError, match="damaged metadata"):
        Session(write_model(tmp_path / "model.onnx", rest))


def test_a_model_of_another_project(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no raf-sdk metadata"):
        Session(write_model(tmp_path / "model.onnx", {}))


@pytest.mark.parametrize("inputs", [("scan",), tuple(INPUTS)[:-1], (*INPUTS, "scan"), tuple(INPUTS)[::-1]])
def test_other_inputs(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    if inputs[0] != "positions":
        inputs = ("scan", *inputs[1:])
    with pytest.raises(ModelError, match="instead of positions, normals"):
        Session(write_model(tmp_path / "model.onnx", inputs=inputs))


def test_another_output(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="motion instead of displacements"):
        Session(write_model(tmp_path / "model.onnx", output="motion"))


def test_more_outputs_than_poses(tmp_path: Path) -> None:
    session = Session(write_model(tmp_path / "model.onnx", factors=(1.0, 2.0, 3.0)))
    with pytest.raises(ModelError, match=r"\(3, 7, 3\) instead of \(2, 7, 3\)"):
        session.run(operators())


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_results_that_are_not_finite(tmp_path: Path, factor: float) -> None:
    session = Session(write_model(tmp_path / "model.onnx", factors=(1.0, factor)))
    with pytest.raises(ModelError, match="not finite"):
        session.run(operators())


def test_operators_that_the_model_cannot_take(tmp_path: Path) -> None:
    session = Session(write_model(tmp_path / "model.onnx"))
    good = operators()
    flat = Operators(good.positions[:, :2], *list(good.as_inputs().values())[1:])
    with pytest.raises(ModelError, match="failed on 7 vertices"):
        session.run(flat)


def test_a_model_of_one_pose_per_run_gives_every_pose(tmp_path: Path) -> None:
    session = Session(write_posed_model(tmp_path / "model.onnx"), "cpu")
    inputs = operators()
    result = session.run(inputs)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [inputs.positions, 2 * inputs.positions])


@pytest.mark.parametrize(
    ("said", "message"), [("0", "instead of positions"), ("maybe", "raf.posed is 'maybe'")]
)
def test_a_pose_input_that_the_metadata_does_not_promise(tmp_path: Path, said: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Session(write_posed_model(tmp_path / "model.onnx", said))


def test_a_pose_that_is_not_finite(tmp_path: Path) -> None:
    session = Session(write_posed_model(tmp_path / "model.onnx", factors=(1.0, np.nan)), "cpu")
    with pytest.raises(ModelError, match="not finite"):
        session.run(operators())


def test_an_unknown_device(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match="unknown device 'abacus'; choose auto, cpu, cuda, tensorrt or coreml"
    ):
        Session(write_model(tmp_path / "model.onnx"), "abacus")


@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_that_makes_no_sense(tmp_path: Path, threads: int) -> None:
    with pytest.raises(DeviceError, match=f"{threads} threads"):
        Session(write_model(tmp_path / "model.onnx"), threads=threads)
