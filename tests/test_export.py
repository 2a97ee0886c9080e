"""Export: what passes the gate can be run, what does not pass leaves nothing behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from raf_export.cli import main
from raf_export.onnx_file import PARITY_SIZES, TOLERANCE, export_onnx, synthetic_inputs
from raf_runtime.contract import ARKIT_POSES, INPUTS, META_COMMIT, OUTPUT
from raf_runtime.errors import ModelError, ModelFileNotFoundError, OutputError
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
TRACE = "raf_export.onnx_file._trace"


def write_weights(path: Path, config: NetworkConfig = TINY, motion: float = 0.01) -> RigNetwork:
    torch.manual_seed(0)
    network = RigNetwork(config)
    for parameter in network.head[-1].parameters():
        nn.init.normal_(parameter, std=motion)
    about = {"commit": "c0ffee", "attribution": "Heads by nobody (CC0)"}
    save_weights(path, network.state_dict(), config, about)
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``weights.safetensors`` and the model made of them: tracing takes seconds."""
    folder = tmp_path_factory.mktemp("exported")
    write_weights(folder / "weights.safetensors")
    report = export_onnx(folder / "weights.safetensors", folder / "model.onnx")
    assert tuple(report) == PARITY_SIZES
    assert all(0 <= difference <= TOLERANCE for difference in report.values())
    assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "model.onnx"}
    return folder


def traced_as(tamper: Callable[[onnx.ModelProto], None], like: Path) -> Callable[[RigNetwork, Path], None]:
    """Stands for tracing: gives a good model that was tampered with."""

    def trace(_network: RigNetwork, path: Path) -> None:
        model = onnx.load(like)
        tamper(model)
        onnx.save(model, path)

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


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (nudge, "at 200 vertices the exported graph differs from torch"),
        (spoil, "differs from torch by nan"),
        (rename, "has inputs .'points', 'normals'"),
        (fix_size, "at 200 vertices the exported graph does not run"),
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


def trace_zero(_network: RigNetwork, path: Path) -> None:
    """A graph that moves nothing."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["positions", "zero"], [OUTPUT])],
        "zero",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name, axes in INPUTS.items()],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ("P", "V", 3))],
        [helper.make_tensor("zero", TensorProto.FLOAT, (len(ARKIT_POSES), 1, 1), [0.0] * len(ARKIT_POSES))],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_network_that_moves_nothing_is_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights(tmp_path / "weights.safetensors", motion=0.0)
    monkeypatch.setattr(TRACE, trace_zero)
    with pytest.raises(ModelError, match="moves nothing; train it"):
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


def test_networks_that_answer_one_pose_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "posed.safetensors", replace(TINY, trunk_blocks=0, pose_blocks=1))
    with pytest.raises(ModelError, match="one pose at a time"):
        export_onnx(tmp_path / "posed.safetensors", tmp_path / "model.onnx")


def test_a_missing_folder(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; make it"):
        export_onnx(exported / "weights.safetensors", tmp_path / "none" / "model.onnx")


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
    assert out.is_file() and "20000 vertices: differs from torch by" in capsys.readouterr().out
    assert main([str(tmp_path / "none.safetensors"), "-o", str(out)]) == 2
    assert capsys.readouterr().err.startswith("raf-export: ")
