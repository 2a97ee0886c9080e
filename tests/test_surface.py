"""Welding: seams close, touching shells stay apart, broken elements are set aside."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from raf_runtime.errors import MeshError
from raf_runtime.surface import Surface, face_areas


def sphere(subdivisions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_triangle_soup_becomes_one_surface() -> None:
    vertices, faces = sphere()
    soup = Surface.build(
        vertices[faces].reshape(-1, 3).astype(np.float32), np.arange(faces.size).reshape(-1, 3)
    )
    assert soup.vertices.shape == vertices.shape
    assert soup.component.max() == 0
    assert np.allclose(soup.vertices[soup.from_input], vertices[faces].reshape(-1, 3), atol=1e-6)


def test_touching_shells_are_not_glued() -> None:
    # Two plates that coincide with opposite normals, as closed lips or a double wall do: their open rims meet too.
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0), [0.0], indexing="ij"), -1).reshape(-1, 3)
    i = (np.arange(4)[:, None] * 5 + np.arange(4)).ravel()
    upper = np.concatenate([np.column_stack([i, i + 5, i + 6]), np.column_stack([i, i + 6, i + 1])])
    both = Surface.build(np.concatenate([grid, grid]), np.concatenate([upper, upper[:, ::-1] + len(grid)]))
    assert len(both.vertices) == 2 * len(grid)
    assert both.component.max() == 1


def test_coincident_closed_shells_are_not_glued() -> None:
    vertices, faces = sphere(2)
    both = Surface.build(
        np.concatenate([vertices, vertices]), np.concatenate([faces, faces[:, ::-1] + len(vertices)])
    )
    assert both.component.max() == 1
    assert len(both.vertices) == 2 * len(vertices)


def test_double_walled_soup_closes_each_wall() -> None:
    vertices, faces = sphere(1)
    corners = np.concatenate([vertices[faces].reshape(-1, 3), vertices[faces[:, ::-1]].reshape(-1, 3)])
    both = Surface.build(corners, np.arange(len(corners)).reshape(-1, 3))
    assert both.component.max() == 1
    assert len(both.vertices) == 2 * len(vertices)


def test_a_seam_in_a_plate_is_welded() -> None:
    left = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
    right = left + np.array([1, 0, 0])
    quad = np.array([[0, 1, 2], [0, 2, 3]])
    surface = Surface.build(np.concatenate([left, right]), np.concatenate([quad, quad + 4]))
    assert len(surface.vertices) == 6
    assert surface.from_input[1] == surface.from_input[4]


def test_broken_elements_are_set_aside() -> None:
    vertices, faces = sphere(1)
    extra = np.array([[0, 0, 1], faces[0], faces[0][[1, 2, 0]]])
    surface = Surface.build(np.concatenate([[[9.0, 9, 9]], vertices]), np.concatenate([faces, extra]) + 1)
    assert surface.set_aside == 3
    assert surface.from_input[0] == -1
    assert len(surface.vertices) == len(vertices)
    values = np.ones((2, len(vertices), 3), np.float32)
    assert (surface.to_input(values)[:, 0] == 0).all()
    assert (surface.to_input(values)[:, 1:] == 1).all()


def test_components_are_numbered_by_area() -> None:
    vertices, faces = sphere(1)
    surface = Surface.build(
        np.concatenate([vertices, vertices * 3 + 10]), np.concatenate([faces, faces + len(vertices)])
    )
    big = surface.component[surface.from_input[-1]]
    assert big == 0
    assert face_areas(surface.vertices, surface.faces).sum() > 0


@pytest.mark.parametrize(
    ("vertices", "faces", "words"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "empty"),
        (np.eye(3), np.array([[0, 1, 3]]), "references vertex 3; the mesh has 3"),
        (np.eye(3), np.array([[0, 1, -1]]), "references"),
        (np.array([[0, 0, 0], [1, 0, 0], [np.nan, 1, 0]]), np.array([[0, 1, 2]]), "vertex 2 is not finite"),
        (np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]), np.array([[0, 1, 2]]), "no area"),
        (np.ones((3, 3)), np.array([[0, 1, 2]]), "no area"),
        (np.eye(3), np.array([[0.0, 1.0, 2.0]]), "integers"),
        (np.eye(3)[:, :2], np.array([[0, 1, 2]]), "expected"),
    ],
)
def test_bad_meshes_are_refused(vertices: np.ndarray, faces: np.ndarray, words: str) -> None:
    with pytest.raises(MeshError, match=words):
        Surface.build(vertices, faces)
