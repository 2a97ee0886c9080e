"""Engines out of raf-export, against stand-ins for the driver and TensorRT: what is proven, and what is said."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from raf_export import model as model_files
from raf_export.cli import main
from raf_export.engine import export_engine
from raf_runtime.backends import cuda, tensorrt_api
from raf_runtime.backends.tensorrt import TensorRTBackend
from raf_runtime.backends.tensorrt_api import Profile
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError, OutputError

if TYPE_CHECKING:
    from tests._fake_nvidia import FakeDriver, FakeTensorRT, write_model
else:
    sys.path.append(str(Path(__file__).parent))
    from _fake_nvidia import FakeDriver, FakeTensorRT, write_model

FEW = (200, 1_000)


@pytest.fixture(scope="module", autouse=True)
def few_sizes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_files, "SIZES", FEW)
        yield


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDriver]:
    fake = FakeDriver()
    monkeypatch.setattr(cuda, "_open_library", lambda: fake)
    tensorrt_api._imported.cache_clear()
    yield fake
    tensorrt_api._imported.cache_clear()


@pytest.fixture
def plain(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    fake = FakeTensorRT(driver, "11.4.0")
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    return fake


@pytest.fixture
def rtx(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    fake = FakeTensorRT(driver, "1.7.1", rtx=True)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", fake)
    return fake


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return write_model(folder / "model.onnx")


def no_driver() -> None:
    raise OSError("libcuda.so.1: cannot open shared object file")


def test_an_engine_for_this_gpu_is_compared(plain: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "t4.engine"
    report = export_engine(source, out, "tensorrt", profile=Profile(100, 500, 5_000))
    assert (report.builder, report.unverified) == ("tensorrt 11.4.0", "")
    assert [each.hop for each in report.measured] == ["the engine"] * len(FEW)
    assert all(each.millimetres == 0 and each.allowed == 0.001 for each in report.measured)
    assert TensorRTBackend.load(out).profile == Profile(100, 500, 5_000)
    target = EngineFile.read(out).target
    assert (target["gpu"], target["capability"], target["precision"]) == ("Tesla T4", "7.5", "fp32")


def test_an_engine_that_gives_zeros_is_caught(plain: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    """As Turing's can, without an error."""
    out = tmp_path / "t4.engine"
    out.write_text("the old engine")
    plain.trouble = "zeros"
    with pytest.raises(ModelError, match=r"at \d+ vertices the engine gives only zeros. Nothing was written"):
        export_engine(source, out, "tensorrt")
    assert out.read_text() == "the old engine"
    assert {path.name for path in tmp_path.iterdir()} == {"t4.engine", "source"}


@pytest.mark.parametrize(("capability", "compared"), [(None, True), ("7.5", True), ("8.6", False)])
def test_an_engine_for_another_gpu_is_not(
    capability: str | None, compared: bool, rtx: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    report = export_engine(source, tmp_path / "x.engine", "tensorrt_rtx", capability=capability)
    assert bool(report.measured) == compared
    assert report.unverified == (
        "" if compared else "this machine's Tesla T4 has compute capability 7.5, not 8.6"
    )
    (build,) = rtx.builds
    assert [each.name for each in build["target"]] == [
        "CURRENT" if capability is None else "SM" + capability[::2]
    ]


def test_without_a_gpu_the_values_are_said_to_be_unverified(
    rtx: FakeTensorRT,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cuda, "_open_library", no_driver)
    out = tmp_path / "t4.engine"
    arguments = [
        str(source),
        "-o",
        str(out),
        "--trt-rtx",
        "--compute-capability",
        "7.5",
        "--profile",
        "9,99,999",
    ]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "inputs, outputs and profile are right" in said
    assert "the engine's VALUES ARE UNVERIFIED on this machine: this machine has no NVIDIA driver" in said
    assert EngineFile.read(out).target["gpu"] == "any"
    assert rtx.builds[0]["profile"]["mass"] == ((9,), (99,), (999,))


def test_without_a_gpu_a_capability_has_to_be_named(
    rtx: FakeTensorRT, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "_open_library", no_driver)
    with pytest.raises(DeviceError, match=r"no NVIDIA driver.*--compute-capability"):
        export_engine(source, tmp_path / "x.engine", "tensorrt_rtx")


@pytest.mark.parametrize("capability", ["9.0", "75", "seven", ""])
def test_a_capability_that_there_is_not(
    capability: str, rtx: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"it can for 7\.5, 8\.6, 12\.0"):
        export_engine(source, tmp_path / "x.engine", "tensorrt_rtx", capability=capability)


def test_plain_tensorrt_builds_for_its_own_gpu(plain: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="that of the GPU in this machine only"):
        export_engine(source, tmp_path / "x.engine", "tensorrt", capability="7.5")


def test_fp32_where_rtx_has_none(rtx: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    rtx.trouble = "fp32"
    with pytest.raises(DeviceError, match=r"for compute capability 7\.5\. .*`raf-export --precision fp16`"):
        export_engine(source, tmp_path / "x.engine", "tensorrt_rtx", capability="7.5")
    assert not list(tmp_path.glob("*.engine"))


def test_a_profile_that_no_head_fits(plain: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="widen it"):
        export_engine(source, tmp_path / "x.engine", "tensorrt", profile=Profile(1, 2, 3))


def test_an_engine_of_other_tensors(plain: FakeTensorRT, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(ModelError, match=r"the engine maps .*'scan'.*the contract"):
        export_engine(
            write_model(tmp_path / "source" / "m.onnx", extra="scan"), tmp_path / "x.engine", "tensorrt"
        )


def test_a_graph_that_is_no_rig_network_does_not_survive_halving(
    plain: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    """The stand-in's output takes an eigenvector as it is, which scaling changes: the gate has to see it."""
    with pytest.raises(ModelError, match=r"the fp16 graph is .* mm from what it was made of"):
        export_engine(source, tmp_path / "x.engine", "tensorrt", precision="fp16")


def test_a_folder_that_there_is_not(plain: FakeTensorRT, source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="make it first"):
        export_engine(source, tmp_path / "none" / "x.engine", "tensorrt")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--compute-capability", "7.5"],
        ["--trt", "--compute-capability", "7.5"],
        ["--profile", "1,2,3"],
        ["--trt", "--profile", "1,2"],
        ["--trt", "--profile", "a,b,c"],
        ["--trt", "--trt-rtx"],
        ["--precision", "int8"],
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as raised:
        main([*arguments, "-o", str(tmp_path / "x")])
    assert raised.value.code == 2
