from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from raf_runtime.errors import MeshError, MeshFileError, MeshFileNotFoundError
from raf_sdk import Mesh
from raf_sdk._mesh import Group, split_polygons
from raf_sdk.io import as_mesh, read_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)


def area(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_quads_split_along_the_shorter_diagonal_and_equal_ones_from_the_first_corner() -> None:
    kite = np.array([[0, 0, 0], [2, -0.5, 0], [4, 0, 0], [2, 0.5, 0]], np.float32)
    assert Mesh.from_triangles(kite, [[0, 1, 2, 3]]).faces.tolist() == [[0, 1, 3], [1, 2, 3]]
    assert Mesh.from_triangles(kite, [[1, 2, 3, 0]]).faces.tolist() == [[1, 2, 3], [1, 3, 0]]
    assert Mesh.from_triangles(SQUARE, [[0, 1, 2, 3]]).faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_polygons_of_every_size_keep_area_winding_and_order() -> None:
    generator = np.random.default_rng(0)
    vertices, sizes = [], generator.integers(3, 9, 40)
    for i, size in enumerate(sizes):
        angle = np.sort(generator.permutation(24)[:size]) / 24 * 2 * np.pi
        vertices.append(np.stack([np.cos(angle) + 3 * i, np.sin(angle), np.zeros(size)], axis=1))
    points = np.concatenate(vertices).astype(np.float32)
    mesh = Mesh(points, np.arange(len(points), dtype=np.int32), sizes.astype(np.int32))
    assert len(mesh.faces) == (sizes - 2).sum()
    a, b, c = (points[mesh.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()
    shoelace = sum(np.cross(p, np.roll(p, -1, axis=0))[:, 2].sum() / 2 for p in vertices)
    assert area(points, mesh.faces) == pytest.approx(shoelace, rel=1e-5)
    owner = np.repeat(np.arange(40), sizes)
    assert (np.diff(owner[mesh.faces[:, 0]]) >= 0).all()
    assert np.array_equal(mesh.faces, mesh.face_indices[mesh.triangle_corners])
    again = split_polygons(mesh.vertices, mesh.face_indices, mesh.face_sizes)
    assert np.array_equal(again, mesh.triangle_corners)


def test_mixed_table_of_triangles_and_quads() -> None:
    mesh = Mesh.from_triangles(SQUARE, np.array([[0, 1, 2, -1], [0, 1, 2, 3], [0, 2, 3, -1]]))
    assert mesh.face_sizes.tolist() == [3, 4, 3]
    assert mesh.face_indices.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 2, 3]


def test_arrays_are_read_only_copies() -> None:
    vertices, faces = SQUARE.copy(), np.array([[0, 1, 2]])
    mesh = Mesh.from_triangles(vertices, faces)
    vertices[:] = 7
    faces[:] = 3
    assert np.array_equal(mesh.vertices, SQUARE)
    assert mesh.faces.tolist() == [[0, 1, 2]]
    for field in (mesh.vertices, mesh.faces, mesh.face_indices, mesh.face_sizes, mesh.triangle_corners):
        with pytest.raises(ValueError, match="read-only"):
            field[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        mesh.vertices = vertices  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.empty((0, 3)), [[0, 1, 2]], "no vertices"),
        (SQUARE, np.empty((0, 3), int), "4 vertices but no faces"),
        (SQUARE, [], "point cloud"),
        (
            SQUARE,
            [[0, 1, 2], [0, 1, 9]],
            r"face 1 references vertex 9; the mesh has 4 vertices \(indices start",
        ),
        (SQUARE, [[0, 1, -2]], "face 0 references vertex -2"),
        (SQUARE, [[0, 1, 2, -1], [0, 1, 2**40, -1]], "face 1 references vertex 1099511627776"),
        (SQUARE, [[0, -1, 2, -1]], "face 0 references vertex -1"),
        (SQUARE, [[0.0, 1.0, 2.0]], "integers"),
        (SQUARE, [[0, 1, 2], [0, 1]], "rectangular"),
        (SQUARE, [[0, 1, 2, 3, 0]], r"\(F, 3\)"),
        (SQUARE, [0, 1, 2], "axes"),
        (SQUARE[:, :2], [[0, 1, 2]], r"expected \(V, 3\)"),
        ([["a", "b", "c"]], [[0, 0, 0]], "expected numbers"),
        ([[0, 0, 0], [0, 0]], [[0, 0, 0]], "rectangular"),
        ([[0, 0, 0], [0, np.nan, 0], [1, np.inf, 0]], [[0, 1, 2]], r"vertex 1 is \(0.0, nan, 0.0\); 2 of 3"),
        ([[0, 0, 0], [0, 1e300, 0], [1, 0, 0]], [[0, 1, 2]], "vertex 1"),
    ],
)
def test_bad_arrays_say_what_and_where(vertices: object, faces: object, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        as_mesh((vertices, faces))


def test_inconsistent_parts_say_so() -> None:
    corners, sizes = np.array([0, 1, 2], np.int32), np.array([3], np.int32)
    uvs = np.zeros((2, 2), np.float32)
    with pytest.raises(MeshError, match="sum to 4"):
        Mesh(SQUARE, corners, np.array([4], np.int32))
    with pytest.raises(MeshError, match="face 0 has 2 corners"):
        Mesh(SQUARE, corners, np.array([2], np.int32))
    with pytest.raises(MeshError, match="both or neither"):
        Mesh(SQUARE, corners, sizes, uvs)
    with pytest.raises(MeshError, match="face 0 references texture coordinate 2; the mesh has 2"):
        Mesh(SQUARE, corners, sizes, uvs, np.array([0, 1, 2], np.int32))
    with pytest.raises(MeshError, match="2 uv_indices for 3"):
        Mesh(SQUARE, corners, sizes, uvs, np.array([0, 1], np.int32))
    with pytest.raises(MeshError, match="group 'skin' reaches beyond"):
        Mesh(SQUARE, corners, sizes, groups=(Group("skin", None, 0, 2),))


def test_uvs_that_are_not_finite_do_not_stop_a_head() -> None:
    uvs = np.array([[np.nan, 0.5]], np.float32)
    mesh = Mesh(SQUARE, np.array([0, 1, 2]), np.array([3]), uvs, np.array([0, 0, -1]))  # pyright: ignore
    assert mesh.uvs is not None
    assert mesh.uvs.tolist() == [[0, 0.5]]


def test_odd_but_usable_meshes_are_accepted() -> None:
    faces = [[0, 1, 2], [0, 1, 2], [0, 0, 1], [0, 1, 3], [1, 0, 3]]  # duplicate, degenerate, non-manifold
    mesh = as_mesh((np.vstack([SQUARE, [[5, 5, 5]]]), faces))  # and an unreferenced vertex
    assert mesh.faces.tolist() == faces
    assert len(mesh.vertices) == 5


def test_trimesh_is_taken_as_it_is() -> None:
    trimesh = pytest.importorskip("trimesh")
    vertices = np.vstack([SQUARE, SQUARE])  # process=False keeps duplicates; nothing may merge them here
    original = trimesh.Trimesh(vertices, [[0, 1, 2], [4, 6, 7]], process=False)
    mesh = as_mesh(original)
    assert np.array_equal(mesh.vertices, vertices)
    assert mesh.faces.tolist() == [[0, 1, 2], [4, 6, 7]]
    assert original.vertices.flags.writeable
    visual = trimesh.visual.TextureVisuals(uv=vertices[:, :2])
    textured = as_mesh(trimesh.Trimesh(vertices, [[0, 1, 2]], visual=visual, process=False))
    assert textured.uvs is not None
    assert np.array_equal(textured.uvs, vertices[:, :2])
    with pytest.raises(MeshError, match="scene"):
        as_mesh(trimesh.Scene(original))


def test_mesh_passes_through_and_other_types_do_not() -> None:
    mesh = as_mesh((SQUARE, [[0, 1, 2]]))
    assert as_mesh(mesh) is mesh
    for other in (None, 3, SQUARE, (SQUARE,), b"head.obj"):
        with pytest.raises(MeshError, match="cannot read a mesh from"):
            as_mesh(other)


def test_paths_that_hold_no_mesh(tmp_path: Path) -> None:
    with pytest.raises(MeshFileNotFoundError, match="does not exist"):
        read_mesh(tmp_path / "none.obj")
    assert issubclass(MeshFileNotFoundError, FileNotFoundError)
    with pytest.raises(MeshFileError, match="is a folder"):
        as_mesh(tmp_path)
    with pytest.raises(MeshFileError, match="not a path"):
        read_mesh("a\0.obj")
    empty, unknown = tmp_path / "empty.obj", tmp_path / "head.blend"
    empty.touch()
    unknown.write_bytes(b"BLENDER")
    with pytest.raises(MeshFileError, match="is empty"):
        read_mesh(empty)
    with pytest.raises(MeshFileError, match=r"suffix '.blend'; the formats that are read are .obj, .ply"):
        read_mesh(str(unknown))
