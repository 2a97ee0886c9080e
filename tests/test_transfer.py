"""Registration and deformation transfer: the baseline of benchmarks/quality.py, and the source of consensus shapes."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from raf_training.data.registration import Samples, register
from raf_training.data.transfer import deformation_gradients, transfer

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@pytest.fixture(scope="module")
def ball() -> tuple[Doubles, Ints, Doubles]:
    """Vertices, triangles and two shapes (2, V, 3) that leave most of the ball alone."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=2.0)
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    bump = np.exp(-2 * np.square(vertices - [0, 0, 2]).sum(axis=1))[:, None]
    turned = Rotation.from_euler("x", 0.7).apply(vertices) - vertices
    shapes = np.stack([bump * [0.2, 0.1, 0.5], bump * turned])
    return vertices, np.asarray(mesh.faces, dtype=np.int64), shapes


def carried(
    source: tuple[Doubles, Ints, Doubles], vertices: Doubles, shapes: Doubles | None = None
) -> Doubles:
    """Transfer to a mesh of the same triangles, each the partner of itself."""
    rest, faces, own = source
    shapes = own if shapes is None else shapes
    same = np.arange(len(faces))
    gradients = [deformation_gradients(rest, faces, shape) for shape in shapes]
    motions = [shape[faces].mean(axis=1) for shape in shapes]
    return transfer(vertices, faces, (same, same), gradients, motions)


def test_a_mesh_takes_its_own_shapes_from_itself(ball: tuple[Doubles, Ints, Doubles]) -> None:
    vertices, _, shapes = ball
    assert carried(ball, vertices) == pytest.approx(shapes, abs=0.01 * np.abs(shapes).max())


def test_a_larger_copy_takes_larger_shapes(
    ball: tuple[Doubles, Ints, Doubles], monkeypatch: pytest.MonkeyPatch
) -> None:
    vertices, _, shapes = ball
    # The pull is towards the source's displacements as they are; without it only the place is open.
    monkeypatch.setattr("raf_training.data.transfer.PULL", 1e-6)
    found, wanted = (
        field - field.mean(axis=1, keepdims=True) for field in (carried(ball, 3 * vertices), 3 * shapes)
    )
    assert found == pytest.approx(wanted, abs=1e-3)


def test_a_turned_copy_takes_turned_shapes(ball: tuple[Doubles, Ints, Doubles]) -> None:
    vertices, faces, shapes = ball
    turn = Rotation.from_euler("xyz", [0.4, -1.0, 2.0])
    turned = np.stack([turn.apply(shape) for shape in shapes])
    found = carried((turn.apply(vertices), faces, turned), turn.apply(vertices))
    straight = carried(ball, vertices)
    assert found == pytest.approx(np.stack([turn.apply(shape) for shape in straight]), abs=1e-9)


def test_gradients_of_a_linear_map_are_that_map(ball: tuple[Doubles, Ints, Doubles]) -> None:
    vertices, faces, _ = ball
    turn = Rotation.from_euler("y", 0.5).as_matrix()
    changes = deformation_gradients(vertices, faces, vertices @ turn.T - vertices)
    assert changes + np.eye(3) == pytest.approx(np.broadcast_to(turn, changes.shape), abs=1e-9)


def test_vertices_without_triangles_and_flat_triangles_do_no_harm(
    ball: tuple[Doubles, Ints, Doubles],
) -> None:
    vertices, faces, shapes = ball
    more = np.concatenate([vertices, [[9.0, 9.0, 9.0]]])
    flat = np.concatenate([faces, [[0, 0, 1]]])
    wider = np.concatenate([shapes, np.zeros((2, 1, 3))], axis=1)
    found = carried((more, flat, wider), more)
    assert found[:, :-1] == pytest.approx(carried(ball, vertices), abs=1e-3)
    assert not found[:, -1].any()


def test_a_surface_is_bent_onto_another_and_back_to_the_right_places(
    ball: tuple[Doubles, Ints, Doubles],
) -> None:
    vertices, faces, shapes = ball
    other = vertices * [1.15, 0.9, 1.0] + shapes[0]
    fine, split = trimesh.remesh.subdivide(other, faces)[:2]  # another triangulation of it
    found = register(vertices, faces, Samples.of(fine, split), np.zeros(0, np.int64), np.zeros((0, 3)))
    before, after = (np.linalg.norm(points - other, axis=1).mean() for points in (vertices, found))
    assert after < 0.25 * before


def test_landmarks_are_met(ball: tuple[Doubles, Ints, Doubles]) -> None:
    vertices, faces, _ = ball
    marks = np.array([0, 5, 40])
    places = vertices[marks] + [0.0, 0.1, 0.0]
    found = register(vertices, faces, Samples.of(vertices, faces), marks, places)
    assert np.abs(found[marks] - places).max() < 0.02
