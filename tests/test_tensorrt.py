"""TensorRT without NVIDIA: against stand-ins for the driver and for each TensorRT, what is asked of them and said."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from raf_runtime.backends import cuda, tensorrt_api
from raf_runtime.backends.cuda import Gpu, GpuMemory
from raf_runtime.backends.tensorrt import TensorRTBackend
from raf_runtime.backends.tensorrt_api import Profile, TensorRT
from raf_runtime.contract import INPUTS, META_POSED, META_POSES, META_PRECISION, POSE_INPUT, Precision
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError
from raf_runtime.session import Session

if TYPE_CHECKING:
    from tests._fake_nvidia import METADATA, Capability, FakeDriver, FakeTensorRT, K, write_model
else:
    sys.path.append(str(Path(__file__).parent))
    from _fake_nvidia import METADATA, Capability, FakeDriver, FakeTensorRT, K, write_model

SMALL = Profile(10, 50, 200)
Inputs = dict[str, NDArray[np.float32]]


def inputs(vertices: int, posed: bool = False) -> Inputs:
    random = np.random.default_rng(vertices)
    lengths: dict[str | int, int] = {"V": vertices, "K": K}
    shapes = {name: [int(lengths.get(axis, axis)) for axis in axes] for name, axes in INPUTS.items()}
    result = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {**result, POSE_INPUT: np.array([0, 1], dtype=np.float32)} if posed else result


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    monkeypatch.setattr(cuda, "_open_library", lambda: fake)
    tensorrt_api._imported.cache_clear()
    yield fake
    tensorrt_api._imported.cache_clear()


Install = Callable[[str], FakeTensorRT]


@pytest.fixture
def install(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Install:
    """Install a stand-in for TensorRT "10", "11", "12" (without the flag of 10) or "rtx", and nothing else."""
    monkeypatch.setattr("raf_runtime.engine_cache.user_cache_dir", lambda _: str(tmp_path / "cache"))
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)

    def install(which: str) -> FakeTensorRT:
        rtx = which == "rtx"
        version = "1.7.1" if rtx else f"{which}.4.0"
        fake = FakeTensorRT(driver, version, rtx=rtx, typed_flag=which != "12")
        monkeypatch.setitem(sys.modules, "tensorrt_rtx" if rtx else "tensorrt", fake)
        tensorrt_api._imported.cache_clear()
        return fake

    return install


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


def open_backend(model: Path, precision: Precision = "fp32") -> TensorRTBackend:
    return TensorRTBackend.open(model, {**METADATA, META_PRECISION: precision}, precision, SMALL)


@pytest.mark.parametrize("which", ["10", "11", "12", "rtx"])
def test_gives_what_onnx_runtime_gives(which: str, install: Install, model: Path) -> None:
    fake = install(which)
    backend = open_backend(model)
    assert backend.device == "tensorrt" and backend.profile == SMALL
    assert backend.metadata == {**METADATA, META_PRECISION: "fp32"}
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for vertices in (50, 10, 200, 120):
        found = backend.run(inputs(vertices))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, session.run(None, inputs(vertices))[0])
    (build,) = fake.builds
    assert build["flags"] == (0 if which == "12" else 2), "TensorRT 10 computes in what it likes unless told"
    assert build["cleared"] == ["TF32"]
    assert build["target"] == ([Capability.CURRENT] if which == "rtx" else [])
    assert build["profile"]["eigenvectors"] == ((10, K), (50, K), (200, K))
    assert "eigenvalues" not in build["profile"]


def test_arrays_of_any_layout(install: Install, model: Path) -> None:
    install("11")
    given = inputs(50)
    expected = open_backend(model).run(given)
    turned = {name: np.asfortranarray(value) for name, value in given.items()}
    np.testing.assert_array_equal(open_backend(model).run(turned), expected)


def test_a_posed_model(install: Install, tmp_path: Path) -> None:
    install("11")
    backend = TensorRTBackend.open(
        write_model(tmp_path / "posed.onnx", posed=True), {**METADATA, META_POSED: "1"}, "fp32", SMALL
    )
    given = inputs(50, posed=True)
    np.testing.assert_allclose(backend.run(given)[0], given["positions"] + given["eigenvectors"][:, :1])


def test_an_engine_is_kept_for_what_it_was_built_for(
    install: Install, driver: FakeDriver, model: Path
) -> None:
    fake = install("11")
    for _ in range(2):
        open_backend(model)
    assert len(fake.builds) == 1
    open_backend(model, "fp16")
    assert len(fake.builds) == 2
    TensorRTBackend.open(model, METADATA, "fp32", Profile(10, 50, 201))
    assert len(fake.builds) == 3
    driver.name = "A10"
    open_backend(model)
    assert len(fake.builds) == 4
    driver.name, driver.capability = "Tesla T4", (8, 6)
    open_backend(model)
    assert len(fake.builds) == 5
    content = onnx.load(model)
    content.doc_string = "another"
    onnx.save(content, model)
    open_backend(model)
    assert len(fake.builds) == 6
    newer = install("10")
    open_backend(model)
    assert len(newer.builds) == 1


def test_a_damaged_engine_in_the_cache_is_built_anew(install: Install, model: Path, tmp_path: Path) -> None:
    fake = install("11")
    open_backend(model)
    (path,) = (tmp_path / "cache" / "engines").glob("*.engine")
    path.write_bytes(path.read_bytes()[:-7])
    assert open_backend(model).run(inputs(20)).any()
    assert len(fake.builds) == 2


def test_plain_tensorrt_comes_before_rtx(install: Install) -> None:
    install("rtx")
    assert str(TensorRT.find()) == "tensorrt_rtx 1.7.1"
    install("11")
    assert str(TensorRT.find()) == "tensorrt 11.4.0"
    assert TensorRT.find("tensorrt_rtx").capabilities == ("7.5", "8.6", "12.0")
    assert TensorRT.find("tensorrt").capabilities == ()


def test_no_tensorrt(install: Install, model: Path) -> None:
    with pytest.raises(
        DeviceError, match=r'`pip install "raf-sdk\[trt\]"` or `pip install "raf-sdk\[trt-rtx\]"`'
    ):
        open_backend(model)
    with pytest.raises(DeviceError, match=r'install it with `pip install "raf-sdk\[trt-rtx\]"`'):
        TensorRT.find("tensorrt_rtx")


def test_a_tensorrt_without_its_libraries(monkeypatch: pytest.MonkeyPatch, install: Install) -> None:
    def broken(_name: str) -> None:
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(tensorrt_api.importlib, "import_module", broken)
    with pytest.raises(DeviceError, match=r"libnvinfer\.so\.11: cannot open"):
        TensorRT.find("tensorrt")


def test_no_driver(install: Install, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("11")
    monkeypatch.setattr(cuda, "_open_library", lambda: ctypes.CDLL("libcuda-of-nobody.so"))
    with pytest.raises(DeviceError, match="has no NVIDIA driver"):
        open_backend(model)


def test_no_gpu(install: Install, driver: FakeDriver, model: Path) -> None:
    install("11")
    driver.fail["cuInit"] = 100
    with pytest.raises(
        DeviceError, match=r"no CUDA-capable device is detected \(100\); look at `nvidia-smi`"
    ):
        open_backend(model)
    driver.fail.clear()
    driver.count = 0
    with pytest.raises(DeviceError, match=r"finds no GPU.*CUDA_VISIBLE_DEVICES"):
        open_backend(model)


@pytest.mark.parametrize("which", ["10", "11", "rtx"])
def test_a_stale_driver(which: str, install: Install, model: Path, tmp_path: Path) -> None:
    fake = install(which)
    fake.trouble = "stale driver"
    with pytest.raises(DeviceError, match=r"driver is too old for it\. Update the driver"):
        open_backend(model)
    assert not list((tmp_path / "cache").rglob("*.engine*")), "nothing that could not be loaded is kept"


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        ("out of memory", DeviceError, "short of memory"),
        ("fp32", DeviceError, r"no fp32 matrix products for this GPU.*raf-export --precision fp16"),
        ("parse", ModelError, "cannot read the model: node 0: ScatterND is refused"),
    ],
)
def test_what_tensorrt_cannot_do(
    trouble: str, error: type[Exception], message: str, install: Install, model: Path
) -> None:
    install("rtx").trouble = trouble
    with pytest.raises(error, match=message):
        open_backend(model)


def test_another_precision_than_the_model_s(install: Install, model: Path) -> None:
    install("11")
    with pytest.raises(ModelError, match=r"computes in fp32, not in fp16.*raf-export --precision fp16"):
        TensorRTBackend.open(model, METADATA, "fp16")


def test_a_missing_model(install: Install, tmp_path: Path) -> None:
    install("11")
    with pytest.raises(ModelFileNotFoundError, match=r"none\.onnx cannot be read"):
        open_backend(tmp_path / "none.onnx")


@pytest.mark.parametrize("vertices", [9, 201])
def test_more_or_fewer_vertices_than_the_profile_takes(vertices: int, install: Install, model: Path) -> None:
    install("11")
    with pytest.raises(ModelError, match=f"takes 10 to 200 vertices and the surface has {vertices}"):
        open_backend(model).run(inputs(vertices))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda given: {"mass": given["mass"][:-1]},
        lambda given: {"mass": given["mass"].astype(np.float64)},
        lambda given: {"eigenvectors": given["eigenvectors"][:, :-1]},
    ],
)
def test_arrays_that_do_not_fit_never_reach_the_gpu(
    spoil: Callable[[Inputs], Inputs], install: Install, model: Path
) -> None:
    install("11")
    given = inputs(20)
    with pytest.raises(ModelError, match="not float32"):
        open_backend(model).run({**given, **spoil(given)})


def test_an_engine_of_another_network(install: Install, tmp_path: Path) -> None:
    install("11")
    for path in (
        write_model(tmp_path / "output.onnx", output="motion"),
        write_model(tmp_path / "input.onnx", extra="scan"),
    ):
        with pytest.raises(ModelError, match="build it from a model of `raf-export`"):
            open_backend(path)


def test_memory_goes_back(install: Install, driver: FakeDriver, model: Path) -> None:
    install("11")
    backend = open_backend(model)
    backend.run(inputs(50))
    first = dict(driver.memory)
    backend.run(inputs(20))
    assert dict(driver.memory) == first, "smaller heads fit in what there is"
    backend.run(inputs(200))
    assert len(driver.memory) == len(first), "larger ones replace it"
    del backend
    gc.collect()
    assert not driver.memory


def test_the_gpu_out_of_memory(install: Install, driver: FakeDriver, model: Path) -> None:
    install("11")
    backend = open_backend(model)
    driver.fail["cuMemAlloc_v2"] = 2
    with pytest.raises(DeviceError, match=r"cuMemAlloc_v2: out of memory \(2\); give the GPU a smaller head"):
        backend.run(inputs(50))
    driver.fail.clear()
    assert backend.run(inputs(50)).any()


def test_an_error_without_a_name(driver: FakeDriver) -> None:
    memory = GpuMemory()
    driver.fail["cuStreamSynchronize"] = 12345
    with pytest.raises(DeviceError, match=r"unknown error \(12345\)"):
        memory.download("nothing", (1,))


def test_what_the_driver_says_of_the_gpu(driver: FakeDriver) -> None:
    assert Gpu.find() == Gpu("Tesla T4", "7.5", "13.1")


def engine_file(model: Path, **target: str) -> EngineFile:
    built = TensorRT.find().build(model.read_bytes(), SMALL)
    at_home = {"flavour": "tensorrt", "version": "11.4.0", "capability": "7.5"}
    return EngineFile(built.data, {**at_home, **target}, METADATA)


def test_an_engine_file(install: Install, model: Path, tmp_path: Path) -> None:
    install("11")
    engine_file(model).write(tmp_path / "x.engine")
    backend = TensorRTBackend.load(tmp_path / "x.engine")
    assert backend.metadata == METADATA
    assert backend.run(inputs(20)).any()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"version": "10.0.1"}, r"built for version 10\.0\.1 and this machine has 11\.4\.0"),
        (
            {"capability": "8.9"},
            r"built for capability 8\.9 and this machine has 7\.5 \(tensorrt 11\.4\.0, Tesla T4\)",
        ),
        ({"flavour": "tensorrt_rtx"}, r"install it with `pip install \"raf-sdk\[trt-rtx\]\"`"),
    ],
)
def test_an_engine_file_of_another_machine(
    target: dict[str, str], message: str, install: Install, model: Path, tmp_path: Path
) -> None:
    install("11")
    engine_file(model, **target).write(tmp_path / "x.engine")
    with pytest.raises(DeviceError, match=message):
        TensorRTBackend.load(tmp_path / "x.engine")


def test_an_engine_that_tensorrt_refuses(install: Install, model: Path, tmp_path: Path) -> None:
    install("11")
    good = engine_file(model)
    line, _, rest = good.data.partition(b"\n")
    older = json.dumps({**json.loads(line), "version": "1"}).encode() + b"\n" + rest
    EngineFile(older, good.target, METADATA).write(tmp_path / "x.engine")
    with pytest.raises(ModelError, match="cannot load the engine: The engine plan file is not compatible"):
        TensorRTBackend.load(tmp_path / "x.engine")


@pytest.mark.parametrize("numbers", [(0, 1, 2), (5, 3, 9), (5, 10, 9)])
def test_profiles_that_make_no_sense(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ModelError, match="ascending order"):
        Profile(*numbers)


def test_a_session_runs_an_engine_file(install: Install, model: Path, tmp_path: Path) -> None:
    install("11")
    engine_file(model).write(tmp_path / "x.engine")
    for device in ("auto", "tensorrt"):
        session = Session(tmp_path / "x.engine", device)
        assert session.device == "tensorrt"
        assert session.poses == tuple(json.loads(METADATA[META_POSES])) and session.eigenpairs == K
        assert session.backend.run(inputs(20)).any()


@pytest.mark.parametrize("device", ["cpu", "cuda", "coreml"])
def test_an_engine_file_runs_nowhere_else(device: str, install: Install, model: Path, tmp_path: Path) -> None:
    install("11")
    engine_file(model).write(tmp_path / "x.engine")
    with pytest.raises(DeviceError, match=f"runs on tensorrt and not on {device}; give the ONNX file"):
        Session(tmp_path / "x.engine", device)


def test_an_engine_file_without_a_gpu(
    tmp_path: Path, install: Install, model: Path, driver: FakeDriver
) -> None:
    install("11")
    engine_file(model).write(tmp_path / "x.engine")
    driver.count = 0
    with pytest.raises(DeviceError, match="GPU"):
        Session(tmp_path / "x.engine")
    (tmp_path / "text.engine").write_text("no engine")
    with pytest.raises(ModelError, match="is not an engine of raf-sdk"):
        Session(tmp_path / "text.engine")
