"""The whole path with the shipped model on the shipped head: what comes out fits what went in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_sdk.io import read_mesh

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"


@pytest.fixture(scope="module")
def rigger() -> raf_sdk.Rigger:
    return raf_sdk.Rigger(device="cpu")


@pytest.fixture(scope="module")
def rig(rigger: raf_sdk.Rigger) -> raf_sdk.Rig:
    return rigger.rig(EXAMPLE)


def groups(rig: raf_sdk.Rig) -> dict[str, np.ndarray]:
    """Vertices of each named part of the example head."""
    corners = np.split(rig.mesh.face_indices, np.cumsum(rig.mesh.face_sizes)[:-1])
    return {
        group.name: np.unique(np.concatenate(corners[group.first_face : group.first_face + group.face_count]))
        for group in rig.mesh.groups
    }


def motion(rig: raf_sdk.Rig, pose: str) -> np.ndarray:
    return rig.deltas[rig.names.index(pose)]


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance of displacements, in units of the mean true motion of all poses."""
    return float(np.linalg.norm(found - expected, axis=-1).mean() / np.linalg.norm(expected, axis=-1).mean())


def test_the_rig_fits_the_mesh(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    mesh = read_mesh(EXAMPLE)
    assert rig.names == rigger.names == ARKIT_POSES
    assert rigger.device == "cpu"
    assert np.array_equal(rig.vertices, mesh.vertices)
    assert rig.deltas.shape == (52, len(mesh.vertices), 3)
    assert rig.deltas.dtype == np.float32
    jaw, smile = motion(rig, "jawOpen"), motion(rig, "mouthSmileLeft")
    posed = rig.evaluate({"jawOpen": 0.7, "mouthSmileLeft": 1.0})
    assert np.allclose(posed, rig.vertices + 0.7 * jaw + smile, atol=1e-5)


def test_the_face_moves_as_the_names_say(rig: raf_sdk.Rig) -> None:
    part, v = groups(rig), rig.vertices
    skin = part["skin"]
    jaw = motion(rig, "jawOpen")
    assert jaw[skin, 1].min() < -1.0  # centimetres: the chin drops
    assert jaw[part["teeth_lower"], 1].mean() < -0.5
    assert np.abs(jaw[part["teeth_upper"]]).max() < 0.3
    for side, sign in (("Left", 1), ("Right", -1)):
        own = v[skin, 0] * sign > 0
        for pose in (f"eyeBlink{side}", f"mouthSmile{side}"):
            strength = np.linalg.norm(motion(rig, pose)[skin], axis=1)
            assert strength[own].sum() > 4 * strength[~own].sum(), pose
        assert motion(rig, f"eyeBlink{side}")[skin, 1].min() < -0.3
        # The corner of a smile goes up and out.
        corner = motion(rig, f"mouthSmile{side}")[skin]
        strongest = corner[np.argsort(np.linalg.norm(corner, axis=1))[-50:]].mean(axis=0)
        assert strongest[1] > 0.1


def test_eyeballs_turn_without_changing_shape(rig: raf_sdk.Rig) -> None:
    for side in ("left", "right"):
        ball = groups(rig)[f"eye_{side}"]
        rest = rig.vertices[ball].astype(np.float64)
        for delta in rig.deltas[:, ball]:
            moved = rest + delta
            before = np.linalg.norm(rest - rest.mean(axis=0), axis=1)
            after = np.linalg.norm(moved - moved.mean(axis=0), axis=1)
            assert np.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("scale", [0.001, 1000.0])
def test_scale_and_place_do_not_matter(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig, scale: float) -> None:
    moved = rigger.rig((rig.vertices.astype(np.float64) * scale + scale * np.array([3.0, -2, 5]), rig.faces))
    assert difference(moved.deltas / scale, rig.deltas) < 0.05


def test_axes_do_not_matter(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    away = np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, -1]])
    for turn in (z_up, away):
        turned = rigger.rig((rig.vertices @ turn.T, rig.faces))
        assert difference(turned.deltas @ turn, rig.deltas) < 0.05


def test_winding_does_not_matter(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    inverted = rigger.rig((rig.vertices, rig.faces[:, ::-1]))
    # Samples of reversed triangles lie elsewhere: the frame turns by a third of a degree.
    assert difference(inverted.deltas, rig.deltas) < 0.07


def test_order_of_vertices_does_not_matter(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    order = np.random.default_rng(0).permutation(len(rig.vertices))
    shuffled = rigger.rig((rig.vertices[order], np.argsort(order)[rig.faces]))
    assert np.array_equal(shuffled.vertices, rig.vertices[order])
    assert difference(shuffled.deltas, rig.deltas[:, order]) < 0.05


def test_triangulation_hardly_matters(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    finer = trimesh.Trimesh(rig.vertices, rig.faces, process=False).subdivide()
    refined = rigger.rig(finer)
    assert np.array_equal(refined.vertices, finer.vertices.astype(np.float32))
    assert difference(refined.deltas[:, : len(rig.vertices)], rig.deltas) < 0.15


def test_seams_and_loose_vertices_are_carried_through(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    soup = np.concatenate([rig.vertices[rig.faces].reshape(-1, 3), [[0.0, 0, 0]]])
    torn = rigger.rig((soup, np.arange(rig.faces.size).reshape(-1, 3)))
    assert difference(torn.deltas[:, :-1], rig.deltas[:, rig.faces.ravel()]) < 0.05
    assert (torn.deltas[:, -1] == 0).all()


def test_prepared_heads_are_rigged_alike(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    prepared = rigger.prepare(EXAMPLE)
    assert np.array_equal(rigger.rig(prepared).deltas, rig.deltas)


def test_small_and_strange_meshes_work_or_say_why(rigger: raf_sdk.Rigger) -> None:
    box = trimesh.creation.box()
    assert rigger.rig(box).deltas.shape == (52, 8, 3)
    ten = trimesh.convex.convex_hull(np.random.default_rng(0).standard_normal((10, 3)))
    assert np.isfinite(rigger.rig(ten).deltas).all()
    fan = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 2]])
    points = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1.0]])
    assert np.isfinite(rigger.rig((points, fan)).deltas).all()
    with pytest.raises(raf_sdk.MeshError):
        rigger.rig((np.zeros((10, 3)), np.zeros((0, 3), int)))
    with pytest.raises(raf_sdk.MeshError, match="no area"):
        rigger.rig((np.ones((3, 3)), np.array([[0, 1, 2]])))
    with pytest.raises(raf_sdk.MeshFileNotFoundError):
        rigger.rig("nowhere.obj")


def test_a_large_surface_goes_through_its_stand_in(rigger: raf_sdk.Rigger, rig: raf_sdk.Rig) -> None:
    fine = trimesh.Trimesh(rig.vertices, rig.faces, process=False).subdivide().subdivide()
    assert len(fine.vertices) > 80_000
    large = rigger.rig(fine)
    assert large.deltas.shape == (52, len(fine.vertices), 3)
    assert difference(large.deltas[:, : len(rig.vertices)], rig.deltas) < 0.2


def test_what_shows_no_face_is_rigged_with_a_warning(
    rigger: raf_sdk.Rigger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rigger.rig(EXAMPLE)
    assert not caplog.records
    trimesh.creation.icosphere(4).export(tmp_path / "ball.ply")
    rigger.rig(tmp_path / "ball.ply")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "ball.ply may not show a face"
    ]


def test_a_cached_head_warns_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ball = trimesh.creation.icosphere(3)
    for _ in range(2):
        raf_sdk.Rigger(device="cpu", cache=tmp_path).rig(ball)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == 2 * [
        "the mesh may not show a face"
    ]
