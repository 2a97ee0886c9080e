"""benchmarks/quality.py --leave-out: what it refuses, what it averages, and that its baseline is a fair one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import raf_sdk
from raf_runtime.contract import ARKIT_POSES, META_ATTRIBUTION
from raf_runtime.errors import ModelError
from raf_runtime.frame import Frame
from raf_sdk.io import read_mesh
from raf_training.data.retarget import Donor
from raf_training.data.rig_source import RigSource, build_source
from raf_training.data.sources import load_families

if TYPE_CHECKING:
    from benchmarks._leave_out import exported, family_figures, refuse_if_seen
    from benchmarks._measure import SCALINGS, Heads, Measured, prepare_in
    from benchmarks._metrics import on_open_jaw
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    from _leave_out import exported, family_figures, refuse_if_seen
    from _measure import SCALINGS, Heads, Measured, prepare_in
    from _metrics import on_open_jaw

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "raf_sdk" / "data" / "model.onnx"
DATA = ROOT.parent / "shared" / "data"


def rig(
    attribution: str, poses: tuple[str, ...] = ("eyeBlinkLeft", "eyeBlinkRight", "mouthPucker")
) -> RigSource:
    rng = np.random.default_rng(1)
    return build_source(
        name="tiny",
        family="tiny",
        attribution=attribution,
        faces=np.array([[0, 1, 2, 3]], np.int32),
        neutral=rng.normal(size=(4, 3)).astype(np.float32),
        shapes={pose: rng.normal(size=(4, 3)).astype(np.float32) for pose in poses},
        modes=np.zeros((1, 4, 3), np.float16),
        sample_weights=lambda rng: np.zeros(1, np.float32),
        keep_face_size=False,
    )


def model_trained_on(attribution: str, path: Path) -> Path:
    model = onnx.load(SHIPPED)
    onnx.helper.set_model_props(
        model, {p.key: attribution if p.key == META_ATTRIBUTION else p.value for p in model.metadata_props}
    )
    onnx.save(model, path)
    return path


def test_a_model_that_has_seen_the_family_is_refused(tmp_path: Path) -> None:
    model = model_trained_on("rig one, CC0\nrig two, MIT", tmp_path / "model.onnx")
    refuse_if_seen(model, [rig("rig three, CC0")])
    with pytest.raises(ModelError, match="was trained on 'rig two, MIT'"):
        refuse_if_seen(model, [rig("rig three, CC0"), rig("rig two, MIT")])


def test_a_model_that_does_not_say_what_it_has_seen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not say what it was trained on"):
        refuse_if_seen(model_trained_on("", tmp_path / "model.onnx"), [rig("rig one, CC0")])


def test_weights_begun_from_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="trained from scratch"):
        exported(ROOT / "weights" / "default.safetensors", tmp_path)


def test_every_rig_of_a_family_counts_alike_and_only_with_the_poses_that_it_has() -> None:
    base = rig("one", (*ARKIT_POSES,))
    proxy = rig("one")
    measured: list[Measured] = []
    for source, share, heads in ((base, 0.5, 3), (proxy, 0.8, 1)):
        result = Measured.of(source, "", "method")
        for _ in range(heads):
            result.add(np.float32(share) * source.deltas, source.deltas, dict.fromkeys(SCALINGS, 1.0))
        measured.append(result)
    assert family_figures(measured)["ratio"] == pytest.approx((0.5 + 0.2) / 2, rel=1e-4)
    assert family_figures(measured, "mouthPucker")["ratio"] == pytest.approx((0.5 + 0.2) / 2, rel=1e-4)
    assert family_figures(measured, "jawLeft")["ratio"] == pytest.approx(0.5, rel=1e-4)
    assert family_figures(measured)["cosine"] == pytest.approx(1, rel=1e-4)


def test_the_true_frame_is_what_the_head_is_prepared_in() -> None:
    mesh = read_mesh(ROOT / "raf_sdk" / "data" / "example_head.obj")
    frame = Frame(np.eye(3), np.array([0.1, 0.2, 0.3]), 0.7)
    prepared = prepare_in(raf_sdk.Rigger(), frame, (mesh.vertices, mesh.faces))
    assert prepared.head.frame == frame
    assert prepared.head.operators.positions == pytest.approx(
        frame.to_canonical(prepared.head.surface.vertices), abs=1e-5
    )


@pytest.mark.shared_data
def test_the_baseline_all_but_copies_shapes_between_identities_of_one_rig() -> None:
    source = load_families(DATA, ["makehuman"])["makehuman"]
    heads = Heads.load(DATA)
    result, donor = Measured.of(source, "", "method"), Donor.of(source)
    for vertices, millimetres in heads.draw(source, 1):
        result.add(on_open_jaw(donor(source, vertices)), on_open_jaw(source.deltas), millimetres)
    assert result.score().ratio < 0.3
    assert result.score().cosine > 0.9
