"""Shapes of warped heads: the mean of what families make of a face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from safetensors.numpy import load_file

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.build import BuildPlan, build
from raf_training.data.consensus import consensus, donors_of
from raf_training.data.rig_source import Floats, RigSource, build_source
from raf_training.data.samples import SampleOptions, draw_head
from raf_training.data.sources import load_sources

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


def test_a_family_without_the_shape_does_not_count_and_gets_none(
    families: dict[str, RigSource], averaged: dict[str, Floats]
) -> None:
    assert off(shape(averaged["ict"], "noseSneerLeft"), shape(families["ict"].deltas, "noseSneerLeft")) < 1e-5
    assert not shape(averaged["makehuman"], "noseSneerLeft").any()
    assert np.array_equal(averaged["cats"], families["cats"].deltas)


def test_one_family_alone_keeps_its_shapes(families: dict[str, RigSource]) -> None:
    ict = families["ict"]
    assert consensus(ict, donors_of({"ict": ict})) is ict.deltas


@pytest.mark.parametrize("warp_share", [0.0, 1.0])
def test_only_warped_heads_are_strangers(families: dict[str, RigSource], warp_share: float) -> None:
    still = replace(families["ict"], strange=np.zeros_like(families["ict"].deltas))
    options = SampleOptions(warp_share=warp_share, crop_share=0.0, hole_share=0.0, vertices=(1000, 1001))
    head = draw_head(still, np.random.default_rng(0), options)
    assert head.deltas.any() == (warp_share == 0)


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
    written = files[1].stat().st_mtime_ns
    build(replace(plan, samples=2), 1)
    assert files[1].stat().st_mtime_ns == written
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
