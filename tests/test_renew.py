"""Samples of an earlier version become samples of this one; heads and shapes stay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.neck import above_neck
from raf_runtime.operators import Operators
from raf_training.data.build import MANIFEST
from raf_training.data.cli import main
from raf_training.dataset import SampleFolder

K = 12


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Two samples whose necks reach further down than heads do now, as an earlier version described them."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / MANIFEST).write_text(json.dumps({"families": ["eggs"], "attribution": {"eggs": "nobody"}}))
    ball = trimesh.creation.icosphere(3)
    for index, length in enumerate((4.5, 5.0)):
        positions = ball.vertices * [1.6, length, 1.9]
        operators = Operators.build(positions, ball.faces, np.zeros(len(positions), np.int64), K)
        arrays: dict[str, NDArray[np.generic]] = {
            name: value.astype(np.float16) for name, value in operators.as_inputs().items()
        }
        arrays |= {name: getattr(operators, name) for name in ("positions", "mass", "eigenvalues")}
        arrays["faces"] = ball.faces.astype(np.int32)
        arrays["deltas"] = np.zeros((len(ARKIT_POSES), len(positions), 3), np.float16)
        arrays["deltas"][3] = positions
        arrays["mask"] = np.ones(len(ARKIT_POSES), dtype=bool)
        save_file(arrays, folder / f"{index:06d}.safetensors", metadata={"source": "eggs", "strange": "yes"})
    return folder


def test_heads_end_at_the_neck_and_keep_their_shapes(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    assert main(["renew", str(old), "--out", str(out), "--processes", "1"]) == 0
    SampleFolder(out).check()
    assert SampleFolder(out)[0].strange
    for path in sorted(old.glob("*.safetensors")):
        before, after = load_file(path), load_file(out / path.name)
        assert len(after["positions"]) < len(before["positions"])
        assert above_neck(after["positions"].astype(np.float64)).all()
        assert after["faces"].max() == len(after["positions"]) - 1
        np.testing.assert_array_equal(after["deltas"][3], after["positions"].astype(np.float16))
        basis = after["eigenvectors"].astype(np.float64)
        gram = basis.T @ (after["mass"].astype(np.float64)[:, None] * basis)
        np.testing.assert_allclose(gram, np.eye(K), atol=5e-3)
        with safe_open(out / path.name, framework="numpy") as file:
            assert file.metadata() == {"source": "eggs", "strange": "yes"}


def test_what_is_there_stays(old: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    command = ["renew", str(old), "--out", str(out), "--processes", "1"]
    assert main(command) == 0
    first, second = sorted(out.glob("*.safetensors"))
    expected, time = load_file(second), first.stat().st_mtime_ns
    second.unlink()
    assert main(command) == 0
    again = load_file(second)
    assert all(np.array_equal(again[name], expected[name]) for name in expected)
    assert first.stat().st_mtime_ns == time


def test_what_is_no_folder_of_samples_is_refused(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["renew", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "no folder of samples" in capsys.readouterr().err
    assert main(["renew", str(old), "--out", str(old)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    sample = old / "000001.safetensors"
    sample.write_bytes(sample.read_bytes()[:1000])
    assert main(["renew", str(old), "--out", str(tmp_path / "new"), "--processes", "1"]) == 2
    assert "000001.safetensors is not a readable sample" in capsys.readouterr().err
