"""Export: what passes the gate can be run, what does not pass leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trimesh
from onnx import helper, numpy_helper
from torch import nn

from raf_export import model as model_files
from raf_export.cli import main
from raf_export.gate import TOLERANCE, compare
from raf_export.heads import SIZES, GateHead, gate_heads
from raf_export.model import run_with_onnxruntime
from raf_export.onnx_file import export_onnx
from raf_export.trace import synthetic_inputs
from raf_runtime.contract import (
    ARKIT_POSES,
    INPUTS,
    META_COMMIT,
    META_POSED,
    META_PRECISION,
    OUTPUT,
    POSE_INPUT,
)
from raf_runtime.errors import (
    MeshError,
    MeshFileNotFoundError,
    ModelError,
    ModelFileNotFoundError,
    OutputError,
)
from raf_runtime.operators import Operators
from raf_runtime.session import Session
from raf_training.checkpoint import save_weights
from raf_training.network import NetworkConfig, RigNetwork, SurfaceTensors

K = 8
TINY = NetworkConfig(
    eigenpairs=K,
    width=16,
    gradients=8,
    trunk_blocks=1,
    encoder_width=8,
    encoder_gradients=4,
    encoder_blocks=1,
    anchors=3,
    frequencies=1,
)
POSED = replace(TINY, trunk_blocks=0, pose_blocks=2, anchors=0, frequencies=0)
TRACE = "raf_export.trace.graph_of"
FEW = (200, 1_000)


def write_weights(path: Path, config: NetworkConfig = TINY, motion: float = 0.01) -> RigNetwork:
    torch.manual_seed(0)
    network = RigNetwork(config)
    for parameter in network.head[-1].parameters():
        nn.init.normal_(parameter, std=motion)
    about = {"commit": "c0ffee", "attribution": "Heads by nobody (CC0)"}
    save_weights(path, network.state_dict(), config, about)
    return network.eval()


@pytest.fixture(scope="module", autouse=True)
def few_sizes() -> Iterator[None]:
    """Heads of 60,000 vertices take seconds; they have a test of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_files, "SIZES", FEW)
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``weights.safetensors`` and the model made of them: tracing takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    write_weights(folder / "weights.safetensors")
    measured = export_onnx(folder / "weights.safetensors", folder / "model.onnx")
    assert [each.hop for each in measured] == ["the fp32 graph"] * len(FEW)
    assert all(0 < each.millimetres <= each.allowed == 0.001 for each in measured)
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "model.onnx"}
    return folder


def traced_as(
    tamper: Callable[[onnx.ModelProto], None], like: Path
) -> Callable[[RigNetwork], onnx.ModelProto]:
    """Stands for tracing: gives a good model that was tampered with."""

    def trace(_network: RigNetwork) -> onnx.ModelProto:
        model = onnx.load(like)
        tamper(model)
        return model

    return trace


def test_an_exported_model_does_not_name_the_folders_of_its_maker(exported: Path) -> None:
    checkout = Path(__file__).resolve().parents[1]
    assert str(checkout).encode() not in (exported / "model.onnx").read_bytes()


def test_an_exported_model_gives_what_torch_gives(exported: Path) -> None:
    session = Session(exported / "model.onnx", "cpu")
    assert session.poses == ARKIT_POSES
    assert session.eigenpairs == K
    inputs = synthetic_inputs(321, K, seed=9)
    network = write_weights(exported / "weights.safetensors")
    with torch.no_grad():
        expected = network(SurfaceTensors(*(torch.from_numpy(inputs[name]) for name in INPUTS)))
    np.testing.assert_allclose(session.run(Operators(**inputs)), expected.numpy(), atol=1e-6)


def test_an_exported_model_says_where_it_comes_from(exported: Path) -> None:
    metadata = Session(exported / "model.onnx", "cpu").metadata
    assert metadata[META_COMMIT] == "c0ffee"
    assert metadata["raf.attribution"] == "Heads by nobody (CC0)"


def test_an_exported_model_stands_alone(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / "model.onnx", tmp_path / "moved.onnx")
    assert Session(tmp_path / "moved.onnx", "cpu").eigenpairs == K


def nudge(model: onnx.ModelProto) -> None:
    """Change the largest weight of the graph by a little."""
    weight = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    values = numpy_helper.to_array(weight).copy()
    values.flat[::7] += 1e-2
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def spoil(model: onnx.ModelProto) -> None:
    """Put a NaN into every weight."""
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight).copy()
        if values.dtype == np.float32:
            weight.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), weight.name))


def rename(model: onnx.ModelProto) -> None:
    """Give the first input another name."""
    for node in model.graph.node:
        node.input[:] = ["points" if name == "positions" else name for name in node.input]
    model.graph.input[0].name = "points"


def fix_size(model: onnx.ModelProto) -> None:
    """Let the graph take 500 vertices only, as a trace does that has burnt in its size."""
    for value in model.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = 500
    del model.graph.value_info[:]


def at_the_end(*nodes: onnx.NodeProto, **constants: np.ndarray) -> Callable[[onnx.ModelProto], None]:
    """Put nodes between the network's output, as "before", and the graph's."""

    def tamper(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["before" if name == OUTPUT else name for name in node.output]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name) for name, value in constants.items()
        )

    return tamper


def times(factor: float) -> Callable[[onnx.ModelProto], None]:
    """Scale the output."""
    node = helper.make_node("Mul", ["before", "factor"], [OUTPUT])
    return at_the_end(node, factor=np.array([[[factor]]], dtype=np.float32))


def add_constant(model: onnx.ModelProto) -> None:
    """Give every vertex the same displacement."""
    times(0.0)(model)
    model.graph.node[-1].output[0] = "nothing"
    model.graph.node.append(helper.make_node("Add", ["nothing", "one"], [OUTPUT]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([[[1]]], dtype=np.float32), "one"))


def drop_a_pose(model: onnx.ModelProto) -> None:
    """Give 51 poses where the metadata names 52."""
    node = helper.make_node("Slice", ["before", "first", "beyond"], [OUTPUT])
    at_the_end(node, first=np.array([0]), beyond=np.array([51]))(model)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 51
    del model.graph.value_info[:]


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (nudge, r"at \d+ vertices the fp32 graph is .* mm from what it was made of.* 0\.001 mm is allowed"),
        (spoil, "the fp32 graph gives values that are not finite"),
        (rename, "the graph has the tensors .*'points'"),
        (fix_size, r"the graph has the tensors .*\(500, 3\)"),
        (times(0.0), "the fp32 graph gives only zeros"),
        (add_constant, "the fp32 graph gives the same displacement for every vertex"),
        (drop_a_pose, r"the graph has the tensors .*\(51, 'V', 3\)"),
    ],
)
def test_a_graph_that_is_not_the_network_fails_the_gate(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tamper: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    monkeypatch.setattr(TRACE, traced_as(tamper, exported / "model.onnx"))
    with pytest.raises(ModelError, match=message):
        export_onnx(exported / "weights.safetensors", tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_the_gate_passes_what_was_not_tampered_with(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above fail for the tampering, not for how it is done."""
    monkeypatch.setattr(TRACE, traced_as(lambda _model: None, exported / "model.onnx"))
    export_onnx(exported / "weights.safetensors", tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_network_that_moves_nothing_is_not_exported(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights(tmp_path / "weights.safetensors", motion=0.0)
    monkeypatch.setattr(TRACE, traced_as(times(0.0), exported / "model.onnx"))
    with pytest.raises(ModelError, match="the network gives only zeros; train it"):
        export_onnx(tmp_path / "weights.safetensors", tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_a_failure_leaves_the_old_file(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TRACE, traced_as(nudge, exported / "model.onnx"))
    out = tmp_path / "model.onnx"
    out.write_text("the old model")
    with pytest.raises(ModelError):
        export_onnx(exported / "weights.safetensors", out)
    assert out.read_text() == "the old model"
    assert list(tmp_path.iterdir()) == [out]


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFoundError, match="raf-train"):
        export_onnx(tmp_path / "none.safetensors", tmp_path / "model.onnx")


def test_weights_that_are_something_else(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for content in (b"", b"text", (exported / "weights.safetensors").read_bytes()[:-50]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="not a weights file"):
            export_onnx(path, tmp_path / "model.onnx")


def test_a_network_that_answers_one_pose(tmp_path: Path) -> None:
    network = write_weights(tmp_path / "posed.safetensors", POSED)
    measured = export_onnx(tmp_path / "posed.safetensors", tmp_path / "posed.onnx", "fp16")
    assert len(measured) == 3 * len(FEW)
    graph = onnx.load(tmp_path / "posed.onnx")
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata[META_POSED] == "1" and metadata[META_PRECISION] == "fp16"
    assert [value.name for value in graph.graph.input] == [*INPUTS, POSE_INPUT]
    run, inputs = run_with_onnxruntime(graph), synthetic_inputs(321, K, seed=9)
    surface = SurfaceTensors(*(torch.from_numpy(inputs[name]) for name in INPUTS))
    answers: list[np.ndarray] = []
    for pose in (3, 40):
        activation = np.eye(1, len(ARKIT_POSES), pose, dtype=np.float32)[0]
        with torch.no_grad():
            expected = network(surface, torch.from_numpy(activation)).numpy()
        answers.append(np.asarray(run({**inputs, POSE_INPUT: activation})))
        assert answers[-1].shape == (1, 321, 3)
        np.testing.assert_allclose(answers[-1], expected, atol=2e-3 * np.abs(expected).max())
    assert np.abs(answers[0] - answers[1]).max() > 1e-2 * np.abs(answers[0]).max()


def test_a_model_that_is_in_half_precision_stays_so(exported: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    measured = export_onnx(exported / "model.onnx", half, "fp16")
    assert [each.hop for each in measured] == [
        hop for hop in ("the fp16 graph", "the fp16 graph with a GPU's roundings") for _ in FEW
    ]
    assert all(0 < each.millimetres <= each.allowed == 0.05 for each in measured)
    assert export_onnx(half, tmp_path / "again.onnx") == ()
    with pytest.raises(ModelError, match="in half precision already"):
        export_onnx(half, tmp_path / "wide.onnx", "fp32")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: b"text",
        lambda content: content[:-500],
        lambda content: content.replace(b"raf.contract", b"raf.contrast"),
        lambda content: content.replace(b"raf.eigenpairs", b"raf.eigenpears"),
        lambda content: content.replace(b'["browDownLeft"', b'["browDownLeft '),
        lambda content: content.replace(b"raf.eigenpairs\x12\x018", b"raf.eigenpairs\x12\x010"),
    ],
)
def test_a_model_that_is_something_else(
    exported: Path, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "source.onnx"
    path.write_bytes(spoil((exported / "model.onnx").read_bytes()))
    with pytest.raises(ModelError, match=r"not a model of raf-sdk|does not follow contract 1"):
        export_onnx(path, tmp_path / "model.onnx", "fp16")
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFoundError, match="raf-export"):
        export_onnx(tmp_path / "none.onnx", tmp_path / "model.onnx")


def test_the_heads_that_judge() -> None:
    """The example head at the sizes of the issue, with surfaces that have not collapsed, and the mm of 240."""
    heads = gate_heads(K)
    assert [head.vertices for head in heads] == pytest.approx(SIZES, rel=0.06)
    for head in heads:
        assert np.ptp(head.inputs["positions"][:, 1]) * head.millimetres == pytest.approx(240)
        assert all(np.isfinite(value).all() for value in head.inputs.values())
        assert np.abs(head.inputs["gradient_x"]).max() < 50
        assert abs(head.inputs["positions"][:, 2].mean()) < 3, "prepared: near the origin, in canonical units"


def test_a_head_of_one_s_own(exported: Path, tmp_path: Path) -> None:
    head = tmp_path / "ball.ply"
    trimesh.creation.icosphere(4).export(head)
    measured = export_onnx(exported / "model.onnx", tmp_path / "model.onnx", "fp16", head)
    assert [each.vertices for each in measured] == pytest.approx([*FEW, *FEW], rel=0.06)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.obj", None, MeshFileNotFoundError),
        ("broken.ply", b"ply\nnonsense", MeshError),
        ("x.npz", b"", MeshError),
    ],
)
def test_a_head_that_cannot_be_used(
    name: str, content: bytes | None, error: type[Exception], exported: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=f"head .*{name}"):
        export_onnx(exported / "model.onnx", tmp_path / "model.onnx", "fp16", tmp_path / name)


def test_a_difference_is_the_length_of_the_farthest_vertex_in_millimetres() -> None:
    head = GateHead({"positions": np.zeros((4, 3), dtype=np.float32)}, millimetres=48.0)
    before = np.arange(24, dtype=np.float64).reshape(2, 4, 3)
    after = before.copy()
    after[1, 2] += (0.003, 0.004, 0.0)
    (measured,) = compare("it", lambda _: before, lambda _: after, [head], 1.0)
    assert (measured.hop, measured.vertices, measured.allowed) == ("it", 4, 1.0)
    assert measured.millimetres == pytest.approx(48 * 0.005)
    with pytest.raises(ModelError, match=r"at 4 vertices it is 0\.24 mm from"):
        compare("it", lambda _: before, lambda _: after, [head], 0.2)
    with pytest.raises(ModelError, match=r"it gives \(1, 4, 3\), not \(2, 4, 3\)"):
        compare("it", lambda _: before, lambda _: after[:1], [head], 1.0)


def test_what_may_differ() -> None:
    assert TOLERANCE == {"fp32": 0.001, "fp16": 0.05}


def test_a_missing_folder(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it"):
        export_onnx(exported / "weights.safetensors", tmp_path / "none" / "model.onnx")


def test_a_full_disk(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        export_onnx(exported / "model.onnx", tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_has_diverged(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    spoil(model)
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="the network gives values that are not finite; train it"):
        export_onnx(tmp_path / "model.onnx", tmp_path / "half.onnx", "fp16")


def test_an_output_that_is_a_folder(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRACE, traced_as(lambda _model: None, exported / "model.onnx"))
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        export_onnx(exported / "weights.safetensors", tmp_path / "model.onnx")


def test_the_command(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TRACE, traced_as(lambda _model: None, exported / "model.onnx"))
    out = tmp_path / "model.onnx"
    assert main([str(exported / "weights.safetensors"), "-o", str(out)]) == 0
    assert out.is_file() and "the fp32 graph, 211 vertices: within" in capsys.readouterr().out
    assert main([str(tmp_path / "none.safetensors"), "-o", str(out)]) == 2
    assert capsys.readouterr().err.startswith("raf-export: ")
