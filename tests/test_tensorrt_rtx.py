"""TensorRT-RTX itself: engines ahead of time, which it builds on machines without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from raf_export import model as model_files
from raf_export.cli import main
from raf_export.half import halved
from raf_export.heads import shipped
from raf_export.trace import graph_of
from raf_runtime.backends import tensorrt_api
from raf_runtime.backends.cuda import Gpu
from raf_runtime.backends.tensorrt import TensorRTBackend
from raf_runtime.backends.tensorrt_api import Profile, TensorRT
from raf_runtime.contract import INPUTS, OUTPUT, POSE_INPUT
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError
from raf_training.network import CONFIGS, RigNetwork

pytest.importorskip("tensorrt_rtx", reason='needs TensorRT-RTX: pip install "raf-sdk[trt-rtx]"')

K = 128


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    tensorrt_api._imported.cache_clear()
    return TensorRT.find("tensorrt_rtx")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(shipped("model.onnx"))


def test_the_shipped_model_for_a_t4(rtx: TensorRT, model: onnx.ModelProto) -> None:
    built = rtx.build(halved(model).SerializeToString(), Profile(), "7.5")
    lengths: dict[str | int, int] = {"V": -1, "K": K}
    assert built.inputs == {
        name: tuple(int(lengths.get(axis, axis)) for axis in axes) for name, axes in INPUTS.items()
    }
    assert built.outputs == {OUTPUT: (52, -1, 3)}
    assert len(built.data) > 1_000_000


def test_a_network_of_one_pose_for_a_t4(rtx: TensorRT) -> None:
    torch.manual_seed(0)
    network = RigNetwork(replace(CONFIGS["paper"], pose_blocks=2))
    for parameter in network.head[-1].parameters():
        nn.init.normal_(parameter)
    built = rtx.build(halved(graph_of(network.eval())).SerializeToString(), Profile(), "7.5")
    assert built.inputs[POSE_INPUT] == (52,)
    assert built.outputs == {OUTPUT: (1, -1, 3)}


@pytest.mark.parametrize("capability", ["8.6", "8.9", "12.0"])
def test_fp32_for_newer_gpus(capability: str, rtx: TensorRT, model: onnx.ModelProto) -> None:
    assert rtx.build(model.SerializeToString(), Profile(500, 600, 700), capability).data


def test_fp32_for_a_t4(rtx: TensorRT, model: onnx.ModelProto) -> None:
    with pytest.raises(
        DeviceError, match=r"no fp32 matrix products for compute capability 7\.5\. .*--precision fp16"
    ):
        rtx.build(model.SerializeToString(), Profile(), "7.5")


def test_a_capability_that_there_is_not(rtx: TensorRT) -> None:
    assert rtx.capabilities[0] == "7.5"
    for capability in ("7.0", "9.0", "seven"):
        with pytest.raises(DeviceError, match=r"it can for 7\.5, "):
            rtx.build(b"", Profile(), capability)


def test_what_is_no_model(rtx: TensorRT) -> None:
    with pytest.raises(ModelError, match="cannot read the model"):
        rtx.build(b"not a model", Profile(), "8.6")


def has_gpu() -> bool:
    try:
        Gpu.find()
    except DeviceError:
        return False
    return True


@pytest.mark.skipif(has_gpu(), reason="this machine has an NVIDIA GPU")
def test_the_command_on_a_machine_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rtx: TensorRT
) -> None:
    monkeypatch.setattr(model_files, "SIZES", (200, 1_000))
    out = tmp_path / "t4.engine"
    assert main(["--trt-rtx", "--compute-capability", "7.5", "--precision", "fp16", "-o", str(out)]) == 0
    assert "VALUES ARE UNVERIFIED" in capsys.readouterr().out
    engine = EngineFile.read(out)
    assert engine.target["version"] == rtx.version and engine.target["profile"] == "100,15000,100000"
    with pytest.raises(DeviceError, match="no NVIDIA driver"):
        TensorRTBackend.load(out)
    with pytest.raises(DeviceError, match="driver is too old"):
        rtx.load(engine.data)
