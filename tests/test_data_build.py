"""Training samples: whatever is done to the triangulation, every vertex keeps the rig's own motion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_training.data.build import BuildPlan, build, pick_source
from raf_training.data.cli import main
from raf_training.data.rig_source import RigSource, build_source
from raf_training.data.samples import PlainHead, SampleOptions, draw_head, draw_sample, plain_head
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
P = len(ARKIT_POSES)
LINEAR, TILT = ARKIT_POSES.index("jawOpen"), np.array([0.1, -0.3, 0.2])
# An identity as it is, neither cropped nor stripped nor stretched, at its own number of vertices.
AS_IT_IS = SampleOptions(
    eigenpairs=8,
    vertices=(2000, 2001),
    large_share=0.0,
    proportion=0.0,
    crop_share=0.0,
    hole_share=0.0,
    bare_share=0.0,
    warp_share=0.0,
)


def bump(vertices: NDArray[np.float64], place: tuple[float, float, float]) -> NDArray[np.float32]:
    near = np.exp(-np.square(vertices - place).sum(axis=1) / 0.5)
    return (near[:, None] * np.array([0.0, -0.2, 0.1])).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> RigSource:
    """An egg of quads with two loose balls of triangles, and five shapes; jawOpen is a linear function."""
    rows, columns = 30, 40
    polar, around = np.meshgrid(
        np.linspace(0.05, np.pi - 0.05, rows), 2 * np.pi * np.arange(columns) / columns
    )
    egg = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=2)
    index = np.arange(rows * columns).reshape(columns, rows)
    right, below = np.roll(index, -1, axis=0), np.roll(index, -1, axis=1)
    corners = np.stack([index, below, np.roll(right, -1, axis=1), right], axis=2)[:, :-1].reshape(-1, 4)
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.3)
    centres = np.array([[0.7, 0.5, 2.2], [-0.7, 0.5, 2.2]])
    vertices = np.concatenate([egg.reshape(-1, 3) * [1.6, 2.2, 1.9], *(ball.vertices + c for c in centres)])
    loose = [
        np.pad(ball.faces + len(vertices) - len(ball.vertices) * n, ((0, 0), (0, 1)), constant_values=-1)
        for n in (2, 1)
    ]
    places = {
        "eyeBlinkLeft": (0.7, 0.5, 1.7),
        "eyeBlinkRight": (-0.7, 0.5, 1.7),
        "mouthPucker": (0.0, -1.0, 1.7),
    }
    shapes = {pose: bump(vertices, place) for pose, place in places.items()}
    shapes["browInnerUp"] = np.sin(3 * vertices).astype(np.float32)
    shapes["jawOpen"] = (vertices * TILT).astype(np.float32)
    modes = np.random.default_rng(0).normal(0, 0.02, (2, len(vertices), 3))
    return build_source(
        name="egg",
        family="egg",
        attribution="Eggs by nobody (CC0)",
        faces=np.concatenate([corners, *loose]).astype(np.int32),
        neutral=vertices.astype(np.float32),
        shapes=shapes,
        modes=modes.astype(np.float16),
        sample_weights=lambda rng: rng.standard_normal(2, dtype=np.float32),
        keep_face_size=False,
    )


@pytest.fixture
def mean(source: RigSource) -> RigSource:
    """The same rig with one identity only."""
    return replace(source, sample_weights=lambda _rng: np.zeros(2, np.float32))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def whole(source: RigSource) -> PlainHead:
    return plain_head(source, source.neutral)


def assert_a_part_of(head: PlainHead, rig: PlainHead) -> None:
    """Every vertex is one of the rig's and has its shapes, exactly."""
    distance, nearest = KDTree(rig.vertices).query(head.vertices)
    twin = np.asarray(nearest)
    assert distance.max() == 0
    assert np.unique(twin).size == twin.size
    np.testing.assert_array_equal(head.deltas, rig.deltas[:, twin])
    assert np.array_equal(np.unique(head.faces), np.arange(len(head.vertices)))


def test_a_head_is_in_canonical_units(source: RigSource) -> None:
    vertices = source.identity(rng())
    head = plain_head(source, vertices)
    assert head.vertices.shape == vertices.shape and head.faces.max() < len(vertices)
    anchors = source.anchors(head.vertices.astype(np.float32))
    np.testing.assert_allclose(anchors.mean(axis=0), 0, atol=1e-5)
    assert np.sqrt(np.square(anchors).sum(axis=1).mean()) == pytest.approx(1, abs=1e-5)
    assert anchors[0, 0] > 0 > anchors[1, 0] and anchors[2, 1] < anchors[0, 1]


def test_both_diagonals_of_a_quad_cover_the_same_head(mean: RigSource) -> None:
    heads = [draw_head(mean, rng(seed), AS_IT_IS) for seed in range(8)]
    rig = whole(mean)
    splits = set()
    for head in heads:
        assert_a_part_of(head, rig)
        assert len(head.faces) == len(rig.faces) and len(head.vertices) == len(rig.vertices)
        splits.add(np.sort(head.faces, axis=1).tobytes())
    assert len(splits) > 2


@pytest.mark.parametrize("seed", range(3))
def test_decimation_keeps_shapes_exact(mean: RigSource, seed: int) -> None:
    head, rig = draw_head(mean, rng(seed), replace(AS_IT_IS, vertices=(400, 401))), whole(mean)
    assert_a_part_of(head, rig)
    # The collapse of edges stops early where what is left may not be collapsed.
    assert 300 < len(head.vertices) < 700
    areas = [trimesh.Trimesh(h.vertices, h.faces, process=False).area for h in (head, rig)]
    assert areas[0] == pytest.approx(areas[1], rel=0.1)


def test_subdivision_interpolates_shapes(mean: RigSource) -> None:
    head, rig = draw_head(mean, rng(), replace(AS_IT_IS, vertices=(7000, 7001))), whole(mean)
    assert len(head.faces) == 4 * len(rig.faces)
    # Every vertex of the rig is still there, as it was.
    distance, twin = KDTree(head.vertices).query(rig.vertices)
    assert distance.max() < 1e-9
    np.testing.assert_allclose(head.deltas[:, twin], rig.deltas, atol=1e-6)
    # Linear functions survive interpolation.
    offset = head.vertices - head.vertices[0]
    np.testing.assert_allclose(head.deltas[LINEAR] - head.deltas[LINEAR, 0], offset * TILT, atol=1e-5)


# Of the fourth crop so little is left that it is subdivided.
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 6])
def test_a_crop_is_a_part_of_the_rig_with_the_face(mean: RigSource, seed: int) -> None:
    head, rig = (
        draw_head(mean, rng(seed), replace(AS_IT_IS, vertices=(1400, 1401), crop_share=1.0)),
        whole(mean),
    )
    assert_a_part_of(head, rig)
    face = rig.vertices[np.linalg.norm(rig.vertices, axis=1) < 1]
    assert len(face) and KDTree(head.vertices).query(face)[0].max() == 0


def test_crops_take_something_off(mean: RigSource) -> None:
    options = replace(AS_IT_IS, vertices=(1400, 1401), crop_share=1.0)
    sizes = {len(draw_head(mean, rng(seed), options).vertices) for seed in range(8)}
    assert len(sizes) > 3 and min(sizes) < 0.9 * len(mean.neutral)


@pytest.mark.parametrize(("bare_share", "parts"), [(0.0, 3), (1.0, 1)])
def test_loose_parts(mean: RigSource, bare_share: float, parts: int) -> None:
    head = draw_head(mean, rng(), replace(AS_IT_IS, bare_share=bare_share))
    assert trimesh.Trimesh(head.vertices, head.faces, process=False).body_count == parts
    # The egg itself always stays.
    assert len(head.vertices) >= 1200


def test_proportions_change_shapes_as_they_change_the_head(source: RigSource) -> None:
    options = SampleOptions(eigenpairs=8, vertices=(300, 3000), proportion=0.2, warp_share=0.0)
    for seed in range(6):
        head = draw_head(source, rng(seed), options)
        offset = head.vertices - head.vertices[0]
        # The identity's modes are no part of the linear shape; what is left of them is small.
        found = head.deltas[LINEAR] - head.deltas[LINEAR, 0]
        assert np.abs(found - offset * TILT).max() < 0.1
        assert not np.array_equal(head.vertices[0], whole(source).vertices[0])


def test_a_sample_is_what_training_reads(mean: RigSource) -> None:
    options = replace(AS_IT_IS, vertices=(400, 401))
    arrays, head = draw_sample(mean, rng(), options), draw_head(mean, rng(), options)
    sizes = {"V": len(head.vertices), "K": 8}
    for name, axes in INPUTS.items():
        assert arrays[name].shape == tuple(sizes.get(str(axis), axis) for axis in axes)
        assert np.isfinite(arrays[name]).all()
    assert arrays["positions"].dtype == arrays["mass"].dtype == arrays["eigenvalues"].dtype == np.float32
    assert arrays["eigenvectors"].dtype == arrays["deltas"].dtype == np.float16
    np.testing.assert_array_equal(arrays["mask"], mean.mask)
    assert arrays["mask"].sum() == 5
    twin = np.asarray(KDTree(head.vertices).query(arrays["positions"])[1])
    np.testing.assert_array_equal(arrays["deltas"], head.deltas[:, twin].astype(np.float16))
    # The triangles of the head, whatever the surface calls their corners.
    corners = np.sort(twin[arrays["faces"].astype(np.int64)], axis=1)
    np.testing.assert_array_equal(np.unique(corners, axis=0), np.unique(np.sort(head.faces, axis=1), axis=0))


def test_equal_states_of_chance_give_equal_samples(source: RigSource) -> None:
    options = SampleOptions(eigenpairs=8, vertices=(300, 600))
    first, again, other = (draw_sample(source, rng(seed), options) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert first["positions"].shape != other["positions"].shape


def test_families_are_drawn_by_their_shares(source: RigSource) -> None:
    names = {"ict": "ict", "makehuman": "makehuman", "makehuman/a": "makehuman", "makehuman/b": "makehuman"}
    sources = {name: replace(source, name=name, family=family) for name, family in names.items()}
    chance = rng()
    drawn = [pick_source(sources, ("ict", "makehuman"), chance).name for _ in range(2000)]
    share = {name: drawn.count(name) / len(drawn) for name in names}
    assert share["ict"] == pytest.approx(0.38 / 0.65, abs=0.04)
    assert share["makehuman"] == pytest.approx(0.135 / 0.65, abs=0.04)
    assert share["makehuman/a"] == pytest.approx(share["makehuman/b"], abs=0.04)


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="unknown family 'cats'; there are ict, makehuman, vitruvian, animals"
    ):
        build(BuildPlan(tmp_path, tmp_path / "out", ("cats",), "train", 1, 0), processes=1)


def test_missing_archives_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["build", "--data", str(tmp_path), "--out", str(out), "--samples", "1"]) == 2
    assert "ict_facekit.npz does not exist" in capsys.readouterr().err
    assert not out.exists()


@pytest.fixture(scope="module")
def vitruvian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples of one family, built with the command."""
    folder = tmp_path_factory.mktemp("built") / "train"
    assert command(folder)() == 0
    return folder


def command(folder: Path, *more: str) -> Callable[[], int]:
    options = ["--samples", "3", "--families", "vitruvian", "--processes", "1", *more]
    return lambda: main(["build", "--data", str(DATA), "--out", str(folder), *options])


@pytest.mark.shared_data
def test_a_build_is_a_folder_for_training(vitruvian: Path) -> None:
    folder = SampleFolder(vitruvian)
    assert len(folder) == 3
    assert "Vitruvian" in folder.attribution["vitruvian"]
    sizes = {len(sample.surface.mass) for sample in folder}
    assert len(sizes) == 3
    for sample in folder:
        assert sample.source == "vitruvian"
        assert sample.mask.sum() == P - 3
        # About as large as a head in canonical units: a metre would be 25 of them.
        assert 1 < sample.deltas.norm(dim=-1).max() * 10 < 50
    assert not list(vitruvian.glob("*.tmp"))


@pytest.mark.shared_data
def test_a_build_resumes_and_refuses_another_plan(
    vitruvian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(vitruvian, tmp_path / "copy"))
    first, lost, kept = sorted(copy.glob("*.safetensors"))
    lost.unlink()
    times = first.stat().st_mtime_ns, kept.stat().st_mtime_ns
    assert command(copy)() == 0
    assert lost.read_bytes() == (vitruvian / lost.name).read_bytes()
    assert (first.stat().st_mtime_ns, kept.stat().st_mtime_ns) == times
    manifest = (copy / "manifest.json").read_text()
    for other in (("--seed", "1"), ("--split", "val"), ("--families", "ict")):
        assert command(copy, *other)() == 2
        assert "samples of another plan" in capsys.readouterr().err
    assert (copy / "manifest.json").read_text() == manifest
    assert json.loads(manifest)["families"] == ["vitruvian"]
