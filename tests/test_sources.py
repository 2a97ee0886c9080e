"""Rig sources: the archives become rigs that agree on sides, directions and anchors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.sources import RigSource, load_sources
from raf_training.errors import DataError

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
NAMES = (
    "ict",
    "makehuman",
    "makehuman/female1605",
    "makehuman/female_generic",
    "makehuman/female_muscle_13442",
    "makehuman/male1591",
    "makehuman/male_generic",
    "makehuman/male_muscle_13290",
    "makehuman/proxy741",
    "vitruvian",
    "animals/koala",
    "animals/tiger",
    "animals/turtle",
)
PROXIES = [name for name in NAMES if name.startswith("makehuman/")]
ANIMAL = {
    "jawOpen",
    "mouthFunnel",
    "mouthSmileLeft",
    "mouthSmileRight",
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
}
SNEER = {"mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"}
MASKED = {
    "animals/koala": set(ARKIT_POSES) - ANIMAL,
    "animals/tiger": set(ARKIT_POSES) - ANIMAL - SNEER,
    "animals/turtle": set(ARKIT_POSES) - ANIMAL - SNEER,
    "ict": {"tongueOut"},
    "vitruvian": {
        "mouthClose",
        "mouthPressLeft",
        "mouthPressRight",
    },
}
DIRECTIONS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
SIDED = [pose for pose in ARKIT_POSES if pose.endswith(("Left", "Right")) and pose not in DIRECTIONS]


@pytest.fixture(scope="module")
def sources() -> dict[str, RigSource]:
    return load_sources(DATA)


@pytest.fixture(params=NAMES)
def source(request: pytest.FixtureRequest, sources: dict[str, RigSource]) -> RigSource:
    return sources[request.param]


def delta(source: RigSource, pose: str) -> NDArray[np.float32]:
    return source.deltas[ARKIT_POSES.index(pose)]


def mean_motion(source: RigSource, pose: str) -> NDArray[np.float32]:
    """Displacement averaged over the motion's own energy, in eye distances."""
    motion = delta(source, pose)
    energy = (motion**2).sum(1)
    left, right, _ = source.anchors(source.neutral)
    return energy @ motion / energy.sum() / np.linalg.norm(left - right)


@pytest.mark.shared_data
def test_names_and_families(sources: dict[str, RigSource]) -> None:
    assert tuple(sources) == NAMES
    assert {source.family for source in sources.values()} == {"ict", "makehuman", "vitruvian", "animals"}
    assert len({source.attribution for source in sources.values()}) == 4


@pytest.mark.shared_data
def test_arrays_fit_together(source: RigSource) -> None:
    count = len(source.neutral)
    assert source.neutral.dtype == source.deltas.dtype == source.anchor_weights.dtype == np.float32
    assert source.deltas.shape == (len(ARKIT_POSES), count, 3)
    assert source.part.shape == (count,)
    assert source.faces.dtype == np.int32
    assert source.faces[:, :3].min() >= 0 and source.faces.max() < count
    corners = np.where(source.faces < 0, source.faces[:, :1], source.faces)
    assert (source.part[corners] == source.part[corners[:, :1]]).all()


@pytest.mark.shared_data
def test_mask_tells_what_is_absent(source: RigSource) -> None:
    absent = {pose for pose, present in zip(ARKIT_POSES, source.mask, strict=True) if not present}
    assert absent == MASKED.get(source.name, set())
    empty = {pose for pose in ARKIT_POSES if not delta(source, pose).any()}
    # Most proxies have no tongue: there, a tongueOut that moves nothing is the truth.
    assert empty - absent <= ({"tongueOut"} if source.name.startswith("makehuman/") else set())


@pytest.mark.shared_data
def test_sided_shapes_move_the_characters_own_side(source: RigSource) -> None:
    x = source.neutral[:, 0] - source.anchors(source.neutral)[2, 0]
    for pose in SIDED:
        if source.mask[ARKIT_POSES.index(pose)]:
            energy = (delta(source, pose) ** 2).sum(1)
            own = x > 0 if pose.endswith("Left") else x < 0
            assert energy[own].sum() > 0.65 * energy.sum(), pose


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("pose", "axis", "sign"),
    [
        ("jawLeft", 0, 1),
        ("jawRight", 0, -1),
        ("mouthLeft", 0, 1),
        ("mouthRight", 0, -1),
        ("jawOpen", 1, -1),
        ("jawForward", 2, 1),
        ("eyeBlinkLeft", 1, -1),
        ("eyeBlinkRight", 1, -1),
        ("browInnerUp", 1, 1),
        ("browDownLeft", 1, -1),
        ("browOuterUpRight", 1, 1),
        ("mouthSmileLeft", 1, 1),
        ("mouthFrownRight", 1, -1),
        ("mouthUpperUpLeft", 1, 1),
        ("mouthLowerDownLeft", 1, -1),
        ("cheekPuff", 2, 1),
        ("mouthPucker", 2, 1),
    ],
)
def test_shapes_move_the_right_way(source: RigSource, pose: str, axis: int, sign: int) -> None:
    if source.mask[ARKIT_POSES.index(pose)]:
        assert sign * mean_motion(source, pose)[axis] > 0.01


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["ict", "makehuman", "vitruvian"])
def test_gaze_turns_the_front_of_the_eyeball(sources: dict[str, RigSource], name: str) -> None:
    source = sources[name]
    for side, inward in (("Left", -1), ("Right", 1)):
        moved = np.linalg.norm(delta(source, f"eyeLookOut{side}"), axis=1)
        moved[source.part == np.bincount(source.part).argmax()] = 0  # the skin
        ball = source.part == source.part[moved.argmax()]
        assert np.sign(source.neutral[ball, 0].mean()) == -inward
        front = ball & (source.neutral[:, 2] > np.quantile(source.neutral[ball, 2], 0.8))
        assert front.any()
        for pose, axis, sign in (("In", 0, inward), ("Out", 0, -inward), ("Up", 1, 1), ("Down", 1, -1)):
            turned = delta(source, f"eyeLook{pose}{side}")[front].mean(0)
            assert sign * turned[axis] > 0, f"{pose}{side}"
            assert np.abs(turned[:2]).argmax() == axis


@pytest.mark.shared_data
def test_anchors_lie_alike_in_every_source(source: RigSource) -> None:
    for vertices in (source.neutral, source.identity(np.random.default_rng(3))):
        left, right, mouth = source.anchors(vertices)
        distance = float(np.linalg.norm(left - right))
        assert left[0] > right[0]
        assert abs(left[1] - right[1]) < 0.1 * distance
        drop = ((left + right) / 2 - mouth)[1] / distance
        assert (0.7 < drop < 1.7) if source.family == "animals" else (0.8 < drop < 1.4)


@pytest.mark.shared_data
def test_proxies_share_the_anchors_of_their_head(sources: dict[str, RigSource]) -> None:
    head = sources["makehuman"].anchors(sources["makehuman"].neutral)
    for name in PROXIES:
        np.testing.assert_allclose(sources[name].anchors(sources[name].neutral), head, atol=1e-3)


@pytest.mark.shared_data
def test_identities_are_finite_different_and_repeatable(source: RigSource) -> None:
    first, second = (source.identity(np.random.default_rng(seed)) for seed in (1, 2))
    assert first.dtype == np.float32 and first.shape == source.neutral.shape
    assert np.isfinite(first).all() and np.isfinite(second).all()
    np.testing.assert_array_equal(first, source.identity(np.random.default_rng(1)))
    if source.family == "animals":  # one identity each
        np.testing.assert_array_equal(first, source.neutral)
        return
    left, right, _ = source.anchors(source.neutral)
    distance = np.linalg.norm(left - right)
    assert 0.01 < np.linalg.norm(first - second, axis=1).mean() / distance < 1.0


@pytest.mark.shared_data
def test_proxies_take_identities_from_their_head(sources: dict[str, RigSource]) -> None:
    weights = [sources[name].sample_weights(np.random.default_rng(5)) for name in ("makehuman", *PROXIES)]
    for other in weights[1:]:
        np.testing.assert_array_equal(weights[0], other)


@pytest.mark.shared_data
def test_only_what_is_named_is_loaded() -> None:
    assert list(load_sources(DATA, ["makehuman/proxy741"])) == ["makehuman/proxy741"]
    with pytest.raises(DataError, match="makehuman/nobody"):
        load_sources(DATA, ["makehuman/nobody"])


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ict_facekit\.npz.*raf-data"):
        load_sources(tmp_path, ["ict"])


def test_unreadable_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "ict_facekit.npz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"ict_facekit\.npz"):
        load_sources(tmp_path, ["ict"])


def test_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "ict_facekit.npz", vertices=np.zeros((3, 3), np.float32))
    with pytest.raises(DataError, match=r"ict_facekit\.npz lacks 'faces'"):
        load_sources(tmp_path, ["ict"])


def test_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nobody'"):
        load_sources(tmp_path, ["nobody"])
