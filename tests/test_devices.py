"""Which device is taken: by what runs and agrees with the CPU, not by what is listed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

import raf_sdk
from raf_runtime import devices, trial
from raf_runtime.backends import onnx_runtime
from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.backends.protocol import Backend
from raf_runtime.devices import AUTOMATIC, choose_backend
from raf_runtime.errors import DeviceError, ModelError, RafError
from raf_runtime.model_file import ModelFile
from raf_runtime.session import Session
from raf_runtime.trial import TOLERANCE, trial_inputs

MODEL = Path(raf_sdk.__file__).parent / "data" / "model.onnx"
Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def cpu() -> OnnxRuntimeBackend:
    return OnnxRuntimeBackend.open(MODEL, "cpu")


@pytest.fixture(scope="module")
def model(cpu: OnnxRuntimeBackend) -> ModelFile:
    return ModelFile.understand(MODEL, cpu.metadata, cpu.inputs, cpu.outputs)


@pytest.fixture(scope="module")
def inputs(model: ModelFile) -> dict[str, NDArray[np.float32]]:
    return trial_inputs(model)


@pytest.fixture(autouse=True)
def one_surface(inputs: dict[str, NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Building it takes most of the time of these tests."""
    monkeypatch.setattr(trial, "trial_inputs", lambda _: inputs)


class Altered:
    """The CPU under another name, with its answers changed."""

    def __init__(self, device: str, backend: Backend, change: Answer) -> None:
        self._device, self._backend, self._change = device, backend, change

    @property
    def device(self) -> str:
        return self._device

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return self._change(self._backend.run(inputs))


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, error: str | None = None) -> None:
    """A driver that finds a GPU, or says this."""

    def find() -> None:
        if error:
            raise DeviceError(error)

    module = SimpleNamespace(Gpu=SimpleNamespace(find=find))
    monkeypatch.setitem(sys.modules, "raf_runtime.backends.cuda", module)


def pretend(monkeypatch: pytest.MonkeyPatch, cpu: Backend, **answers: Answer | Exception) -> None:
    """A GPU, and devices that open and answer so; others cannot be opened."""
    pretend_gpu(monkeypatch)

    def opened(device: str, *_: object) -> Backend:
        answer = answers.get(device, DeviceError(f"no {device} here"))
        if isinstance(answer, Exception):
            raise answer
        return Altered(device, cpu, answer)

    monkeypatch.setattr(devices, "_open", opened)


def same(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    return answer


def off(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Off by one and a half times the tolerance, at one vertex of one shape."""
    wrong = answer.copy()
    wrong[-1, -1, 1] += 1.5 * TOLERANCE / 48
    return wrong


def nearly(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    return (answer + 0.3 * TOLERANCE / 48).astype(np.float32)


WRONG: dict[str, Answer] = {
    "off": off,
    "zero": np.zeros_like,
    "nan": lambda answer: np.full_like(answer, np.nan),
    "shape": lambda answer: answer[:, :-1],
}


def test_without_a_gpu_auto_is_the_cpu_and_tries_nothing(
    cpu: OnnxRuntimeBackend,
    model: ModelFile,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "raf_runtime")
    pretend(monkeypatch, cpu, tensorrt=AssertionError("tried"), cuda=AssertionError("tried"))
    pretend_gpu(monkeypatch, "there is no driver")
    assert choose_backend("auto", model, cpu) is cpu
    assert [record.getMessage() for record in caplog.records] == [
        "raf-sdk runs on cpu; not on tensorrt or cuda: there is no driver"
    ]


def test_auto_takes_tensorrt_before_cuda(
    cpu: OnnxRuntimeBackend, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cpu, tensorrt=nearly, cuda=AssertionError("tried"))
    assert choose_backend("auto", model, cpu).device == "tensorrt"


@pytest.mark.parametrize("wrong", WRONG)
def test_auto_passes_over_a_device_that_gives_other_answers(
    cpu: OnnxRuntimeBackend,
    model: ModelFile,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "raf_runtime")
    pretend(monkeypatch, cpu, tensorrt=WRONG[wrong], cuda=same)
    assert choose_backend("auto", model, cpu).device == "cuda"
    pretend(monkeypatch, cpu, tensorrt=ModelError("too new"), cuda=WRONG[wrong])
    assert choose_backend("auto", model, cpu) is cpu
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("raf-sdk runs on cuda; device 'tensorrt' cannot be had: a trial run")
    assert second.startswith(
        "raf-sdk runs on cpu; device 'tensorrt' cannot be had: too new; device 'cuda' cannot"
    )


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("device", [*AUTOMATIC, "coreml"])
def test_a_device_by_name_that_gives_other_answers_is_an_error(
    cpu: OnnxRuntimeBackend, model: ModelFile, device: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cpu, **{device: WRONG[wrong]})
    with pytest.raises(DeviceError, match=f"device '{device}' cannot be had: a trial run"):
        choose_backend(device, model, cpu)


def test_a_device_by_name_that_agrees_is_what_the_session_runs(
    cpu: OnnxRuntimeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cpu, cuda=nearly)
    assert Session(MODEL, "cuda").device == "cuda"


@pytest.mark.parametrize(
    "error", [ModelError("no kernel"), ImportError("no library"), DeviceError("no driver")]
)
def test_whatever_stops_a_device_is_a_device_error_with_its_cause(
    cpu: OnnxRuntimeBackend, model: ModelFile, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cpu, tensorrt=error)
    with pytest.raises(DeviceError, match=f"'tensorrt' cannot be had: {error}") as raised:
        choose_backend("tensorrt", model, cpu)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("device", AUTOMATIC)
def test_a_gpu_device_without_a_gpu(
    cpu: OnnxRuntimeBackend, model: ModelFile, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch, "there is no driver; install it")
    with pytest.raises(DeviceError, match="no driver; install it"):
        choose_backend(device, model, cpu)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has CUDA"
)
def test_cuda_without_its_package_names_the_command(
    cpu: OnnxRuntimeBackend, model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpu(monkeypatch)
    with pytest.raises(DeviceError, match=r'pip install "raf-sdk\[gpu\]"') as raised:
        choose_backend("cuda", model, cpu)
    assert isinstance(raised.value, RafError)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Core ML")
def test_core_ml_elsewhere_than_on_a_mac(cpu: OnnxRuntimeBackend, model: ModelFile) -> None:
    with pytest.raises(DeviceError, match="part of macOS"):
        choose_backend("coreml", model, cpu)


def test_cuda_that_onnx_runtime_replaces_by_the_cpu_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def falls_back(path: str, options: Any, **_: object) -> Any:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def preload() -> None:
        sys.stdout.write("Failed to load libcublasLt.so.13: cannot open shared object file")

    runtime = SimpleNamespace(
        InferenceSession=falls_back,
        SessionOptions=onnxruntime.SessionOptions,
        cuda_version="13.0",
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload_dlls=preload,
    )
    monkeypatch.setattr(onnx_runtime, "import_onnxruntime", lambda: runtime)
    with pytest.raises(DeviceError, match=r"libcublasLt\.so\.13: cannot open.*CUDA 13\.0.*raf-sdk\[gpu\]"):
        OnnxRuntimeBackend.open(MODEL, "cuda")
    assert capsys.readouterr() == ("", "")


def test_the_trial_is_a_closed_surface_that_the_shipped_model_moves(
    cpu: OnnxRuntimeBackend, inputs: dict[str, NDArray[np.float32]]
) -> None:
    assert (np.einsum("vi,vi->v", inputs["positions"], inputs["normals"]) > 1).all()
    a, b, c = 1.6, 2.4, 2.0  # area of an ellipsoid: Thomsen's formula
    area = 4 * np.pi * np.mean([(a * b) ** 1.6075, (a * c) ** 1.6075, (b * c) ** 1.6075]) ** (1 / 1.6075)
    assert inputs["mass"].sum() == pytest.approx(area, rel=0.02)
    # An answer of zeros is seen: all shapes but a few (an egg has no tongue) move it further than the tolerance.
    assert (48 * np.linalg.norm(cpu.run(inputs), axis=2).max(axis=1) > 2 * TOLERANCE).sum() >= 48


@pytest.mark.gpu
@pytest.mark.parametrize("device", AUTOMATIC)
def test_a_gpu_agrees_with_the_cpu_on_a_head(device: str) -> None:
    try:
        rigger = raf_sdk.Rigger(device=device)
    except DeviceError as error:
        pytest.skip(str(error))
    assert rigger.device == device
    head = MODEL.with_name("example_head.obj")
    found, expected = rigger.rig(head), raf_sdk.Rigger(device="cpu").rig(head)
    height = float(np.ptp(expected.vertices[:, 1]))
    assert 240 / height * np.abs(found.deltas - expected.deltas).max() <= TOLERANCE
