"""Shapes of warped heads: the mean of what families make of a face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.spatial import KDTree

from raf_runtime.contract import ARKIT_POSES
from raf_training.data import samples
from raf_training.data.build import STRANGE, BuildPlan, build
from raf_training.data.consensus import completed, consensus, donors_of, strange_of
from raf_training.data.rig_source import Floats, RigSource, Strange, build_source
from raf_training.data.samples import SampleOptions, draw_head, plain_head
from raf_training.data.sources import load_sources
from raf_training.errors import DataError

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
BALL = trimesh.creation.icosphere(subdivisions=4, radius=2.0)
VERTICES = np.asarray(BALL.vertices * [0.8, 1.1, 0.95], np.float32)
PLACES = {
    "eyeBlinkLeft": (0.8, 0.6, 1.4),
    "eyeBlinkRight": (-0.8, 0.6, 1.4),
    "mouthPucker": (0.0, -1.0, 1.6),
    "jawOpen": (0.0, -1.6, 1.2),
    "mouthClose": (0.0, -1.1, 1.5),
    "mouthSmileLeft": (0.7, -1.0, 1.4),
    "noseSneerLeft": (0.3, 0.0, 1.8),
}


def rig(family: str, push: tuple[float, float, float], without: tuple[str, ...] = ()) -> RigSource:
    """An egg whose face is pushed about as its family likes."""
    shapes = {
        pose: (np.exp(-2 * np.square(VERTICES - place).sum(axis=1))[:, None] * push).astype(np.float32)
        for pose, place in PLACES.items()
        if pose not in without
    }
    return build_source(
        name=family,
        family=family,
        attribution="Eggs by nobody (CC0)",
        faces=np.pad(np.asarray(BALL.faces, np.int32), ((0, 0), (0, 1)), constant_values=-1),
        neutral=VERTICES,
        shapes=shapes,
        modes=np.zeros((1, *VERTICES.shape), np.float16),
        sample_weights=lambda rng: np.zeros(1, np.float32),
        keep_face_size=False,
    )


def shape(deltas: Floats, *poses: str) -> NDArray[np.float32]:
    return deltas[[ARKIT_POSES.index(pose) for pose in poses]].sum(axis=0)


def off(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.fixture(scope="module")
def families() -> dict[str, RigSource]:
    return {
        "ict": rig("ict", (0.0, 0.4, 0.1)),
        "makehuman": rig("makehuman", (0.2, 0.2, 0.1), without=("noseSneerLeft",)),
        "cats": rig("cats", (0.0, 0.0, 0.5)),
    }


@pytest.fixture(scope="module")
def averaged(families: dict[str, RigSource]) -> dict[str, Floats]:
    donors = donors_of(families)
    assert list(donors) == ["ict", "makehuman"]
    return {name: consensus(source, donors) for name, source in families.items()}


def test_a_shape_is_the_mean_of_what_families_make_of_it(
    families: dict[str, RigSource], averaged: dict[str, Floats]
) -> None:
    for pose in ("mouthSmileLeft", "mouthPucker", "jawOpen"):
        mean = (shape(families["ict"].deltas, pose) + shape(families["makehuman"].deltas, pose)) / 2
        for family in ("ict", "makehuman"):
            assert off(shape(averaged[family], pose), mean) < 0.1, (family, pose)


def test_lids_and_closed_lips_meet_as_they_do_in_the_rig(
    families: dict[str, RigSource], averaged: dict[str, Floats]
) -> None:
    for family in ("ict", "makehuman"):
        own, mean = families[family].deltas, averaged[family]
        assert np.array_equal(shape(mean, "eyeBlinkLeft"), shape(own, "eyeBlinkLeft"))
        assert off(shape(mean, "mouthClose", "jawOpen"), shape(own, "mouthClose", "jawOpen")) < 1e-5
        assert off(shape(mean, "mouthClose"), shape(own, "mouthClose")) > 0.1


def test_a_family_without_the_shape_does_not_count_and_is_lent_it(
    families: dict[str, RigSource], averaged: dict[str, Floats]
) -> None:
    lender = shape(families["ict"].deltas, "noseSneerLeft")
    assert off(shape(averaged["ict"], "noseSneerLeft"), lender) < 1e-5
    assert off(shape(averaged["makehuman"], "noseSneerLeft"), lender) < 0.2
    assert np.array_equal(averaged["cats"], families["cats"].deltas)


def test_what_is_lent_is_a_rig_s_own_shape_then_and_nothing_else_changes(
    families: dict[str, RigSource], averaged: dict[str, Floats]
) -> None:
    rig, sneer = families["makehuman"], ARKIT_POSES.index("noseSneerLeft")
    whole = completed(rig, Strange(averaged["makehuman"], np.zeros((1, *VERTICES.shape), np.float32)))
    assert not rig.mask[sneer] and whole.mask[sneer]
    assert np.array_equal(whole.deltas[sneer], averaged["makehuman"][sneer])
    others = np.arange(len(ARKIT_POSES)) != sneer
    assert np.array_equal(whole.deltas[others], rig.deltas[others])
    assert np.array_equal(whole.mask[others], rig.mask[others])


def test_one_family_alone_keeps_its_shapes(families: dict[str, RigSource]) -> None:
    ict = families["ict"]
    assert consensus(ict, donors_of({"ict": ict})) is ict.deltas


AS_IT_IS = SampleOptions(crop_share=0.0, hole_share=0.0, proportion=0.0, vertices=(3000, 3001))


@pytest.mark.parametrize("warped", [False, True])
def test_only_warped_heads_are_strangers(families: dict[str, RigSource], warped: bool) -> None:
    ict = families["ict"]
    still = replace(
        ict, strange=Strange(np.zeros_like(ict.deltas), np.zeros((1, *VERTICES.shape), np.float32))
    )
    head = draw_head(still, np.random.default_rng(0), AS_IT_IS, warped=warped)
    assert head.deltas.any() != warped


def test_the_way_to_another_family_leads_to_its_face() -> None:
    wide = np.array([1.15, 0.9, 1.0], np.float32)
    first, second = rig("ict", (0.0, 0.4, 0.1)), rig("makehuman", (0.2, 0.2, 0.1))
    second = replace(second, neutral=second.neutral * wide)
    strange = strange_of(first, donors_of({"ict": first, "makehuman": second}))
    assert strange.toward.shape == (1, *VERTICES.shape)
    there = plain_head(first, first.neutral).vertices + strange.toward[0]
    goal = plain_head(second, second.neutral).vertices
    off = KDTree(goal).query(there)[0]
    apart = KDTree(goal).query(plain_head(first, first.neutral).vertices)[0]
    assert off.mean() < 0.5 * apart.mean()


def test_some_strangers_are_part_of_the_way_to_another_family(
    families: dict[str, RigSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "WEAK", (0.0, 0.0))
    monkeypatch.setattr(samples, "STRENGTH", (0.0, 0.0))
    ict = families["ict"]
    larger = 2 * plain_head(ict, ict.neutral).vertices[:, :1] * [1.0, 0.0, 0.0]
    strange = Strange(ict.deltas, np.array([larger], np.float32))
    source = replace(ict, strange=strange)
    plain = draw_head(source, np.random.default_rng(0), AS_IT_IS).vertices
    widths = [
        np.ptp(draw_head(source, np.random.default_rng(seed), AS_IT_IS, warped=True).vertices, axis=0)
        for seed in range(20)
    ]
    shapes = (
        np.array(widths)[:, 0]
        / np.array(widths)[:, 1]
        / (np.ptp(plain, axis=0)[0] / np.ptp(plain, axis=0)[1])
    )
    there = shapes > 1.1
    assert 4 <= there.sum() <= 16
    assert shapes[~there] == pytest.approx(1.0, abs=1e-3)
    least, most = samples.PART
    assert ((shapes[there] > 1 + 1.9 * least) & (shapes[there] < 1 + 2.1 * most)).all()


@pytest.mark.shared_data
def test_a_build_averages_its_families_once(tmp_path: Path) -> None:
    options = SampleOptions(warp_share=1.0, dress_share=0.0)
    plan = BuildPlan(DATA, tmp_path, ("ict", "vitruvian"), "train", 1, 0, options)
    build(plan, 1)
    files = sorted((tmp_path / "consensus").iterdir())
    assert [file.name for file in files] == ["ict.safetensors", "vitruvian.safetensors"]
    assert json.loads((tmp_path / "manifest.json").read_text())["consensus"] == ["ict", "vitruvian"]
    own = load_sources(DATA, ["vitruvian"])["vitruvian"].deltas
    mean = load_file(files[1])["deltas"]
    assert 0.1 < np.abs(mean - own).mean() / np.abs(own).mean() < 1
    with safe_open(tmp_path / "000000.safetensors", "np") as file:
        assert STRANGE in file.metadata()
    written = files[1].stat().st_mtime_ns
    build(replace(plan, samples=2), 1)
    assert files[1].stat().st_mtime_ns == written
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    # As it was written before rigs were lent shapes.
    manifest = tmp_path / "manifest.json"
    told = json.loads(manifest.read_text())
    assert told.pop("lent")
    manifest.write_text(json.dumps(told))
    with pytest.raises(DataError, match="another plan"):
        build(replace(plan, samples=3), 1)
