"""Packages that install the same files: what works is recognised, what does not is named with its repair."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raf_runtime.errors import DeviceError
from raf_runtime.packages import import_onnxruntime, installed_packages, package_problem
from raf_runtime.session import Session
from raf_sdk._cli import main
from raf_sdk._rigger import SHIPPED_MODEL

Install = Callable[..., None]
WORKING = "InferenceSession = object\npackage_name = {!r}\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make a folder of packages the only one: what each says of itself, and whose files are in place."""

    def install(in_place: str | None, **versions: str) -> None:
        for name, version in versions.items():
            about = tmp_path / f"{name}-{version}.dist-info"
            about.mkdir()
            (about / "METADATA").write_text(f"Name: {name.replace('_', '-')}\nVersion: {version}\n")
            (about / "top_level.txt").write_text("onnxruntime\n")
        (tmp_path / "onnxruntime" / "capi").mkdir(parents=True)
        (tmp_path / "onnxruntime" / "capi" / "left_over.so").touch()
        if in_place is not None:
            (tmp_path / "onnxruntime" / "__init__.py").write_text(WORKING.format(in_place))
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        for module in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # restores what is there now, in the end
        monkeypatch.delitem(sys.modules, "onnxruntime")
        importlib.invalidate_caches()

    return install


@pytest.mark.parametrize(
    ("in_place", "versions"),
    [
        ("onnxruntime", {"onnxruntime": "1.32.0"}),
        ("onnxruntime-gpu", {"onnxruntime_gpu": "1.31.1"}),
        ("onnxruntime-gpu", {"onnxruntime": "1.32.0", "onnxruntime_gpu": "1.31.1"}),
    ],
)
def test_what_works_is_no_problem(install: Install, in_place: str, versions: dict[str, str]) -> None:
    install(in_place, **versions)
    assert len(installed_packages()) == len(versions)
    assert package_problem() is None


def test_a_gpu_package_that_the_plain_one_has_overwritten(install: Install) -> None:
    install("onnxruntime", onnxruntime="1.32.0", onnxruntime_gpu="1.31.1")
    problem = package_problem()
    assert problem is not None
    assert "onnxruntime-gpu 1.31.1 and onnxruntime 1.32.0 are installed" in problem
    assert problem.endswith("`pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1`")


@pytest.mark.parametrize(
    ("versions", "repair"),
    [
        ({"onnxruntime": "1.32.0"}, "--no-deps onnxruntime==1.32.0"),
        ({"onnxruntime_gpu": "1.31.1"}, "--no-deps onnxruntime-gpu==1.31.1"),
        ({}, "ONNX Runtime is not installed; run `pip install onnxruntime`"),
    ],
)
def test_what_is_left_of_a_pair_after_one_was_removed(
    install: Install, versions: dict[str, str], repair: str
) -> None:
    install(None, **versions)
    with pytest.raises(DeviceError) as raised:
        import_onnxruntime()
    assert repair in str(raised.value)
    with pytest.raises(DeviceError) as raised:
        Session(SHIPPED_MODEL)
    assert repair in str(raised.value)


def test_the_doctor_says_so_too_and_leaves_with_1(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install(None, onnxruntime_gpu="1.31.1")
    assert main(["doctor", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["automatic"] is None
    assert not any(state["usable"] for state in said["devices"])
    (problem,) = said["problems"]
    assert "--no-deps onnxruntime-gpu==1.31.1" in problem
