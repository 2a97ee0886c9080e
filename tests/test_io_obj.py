from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raf_runtime.errors import MeshFileError
from raf_sdk import Mesh
from raf_sdk._mesh import Group
from raf_sdk.io import read_mesh

Reader = Callable[[str | bytes], Mesh]
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "upstream-samples"

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\n"


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def reader(text: str | bytes) -> Mesh:
        path = tmp_path / "head.obj"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_mesh(path)

    return reader


def slow_read(path: Path) -> tuple[list[list[float]], list[list[int]], list[list[int]]]:
    """The obvious reader, line by line."""
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    uvs: list[list[int]] = []
    for line in path.read_text().splitlines():
        match line.split():
            case ["v", *numbers]:
                vertices.append([float(x) for x in numbers[:3]])
            case ["f", *corners]:
                faces.append([int(c.split("/")[0]) - 1 for c in corners])
                uvs.append([int(c.split("/")[1]) - 1 for c in corners])
            case _:
                pass
    return vertices, faces, uvs


@pytest.mark.parametrize(
    ("face", "uv"),
    [
        ("f 1 2 3", None),
        ("f 1/3 2/2 3/1", [2, 1, 0]),
        ("f 1//1 2//1 3//1", None),
        ("f 1/3/1 2/2/1 3/1/1", [2, 1, 0]),
        ("f -4/-1 -3/-2 -2/-3", [2, 1, 0]),
        ("f 1/3 2 3/1/9", [2, -1, 0]),
        ("f 1/3/ 2/2/ 3/1/", [2, 1, 0]),
        ("f\t1/3\t2/2  3/1 # comment 7 8", [2, 1, 0]),
        ("  f 1/3 2/2 \\\n 3/1", [2, 1, 0]),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_form_of_face(read: Reader, face: str, uv: list[int] | None, ending: str) -> None:
    mesh = read((SQUARE + "vn 0 0 1\n" + face).replace("\n", ending))
    assert mesh.face_indices.tolist() == [0, 1, 2]
    assert (None if mesh.uv_indices is None else mesh.uv_indices.tolist()) == uv


def test_polygons_survive_and_relative_indices_count_from_their_line(read: Reader) -> None:
    mesh = read("v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 1 0\nv -1 0 0\nf 1 2 3 4 5\nf -5 -4 -3 -2\n")
    assert mesh.face_sizes.tolist() == [3, 5, 4]
    assert mesh.face_indices.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3]


def test_vertices_with_colours_weights_and_odd_spacing(read: Reader) -> None:
    mesh = read(b"\xef\xbb\xbfv  0 0 0 1\nv\t1 0 0 0.5 0.5 0.5\nv 1e0 +1 -0.0 # tip\nv .5 5. 1E-1\nf 1 2 3\n")
    expected = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0.5, 5, 0.1]], np.float32)
    assert np.array_equal(mesh.vertices, expected)


def test_groups_are_runs_of_faces(read: Reader) -> None:
    text = "mtllib a.mtl\no head #1\ng empty\nf 1 2 3\nusemtl skin\nf 1 2 3\nf 1 2 4\ns off\n"
    text += "g eye left\nf 1 3 4\n"
    assert read(SQUARE + text).groups == (
        Group("empty", None, 0, 1),
        Group("empty", "skin", 1, 2),
        Group("eye left", "skin", 3, 1),
    )
    assert read(SQUARE + "f 1 2 3\nf 1 2 4\n").groups == ()
    assert read(SQUARE + "f 1 2 3\nusemtl\tb\nf 1 2 4\n").groups[1] == Group("", "b", 1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", "no vertices"),
        (SQUARE, "4 vertices but no faces"),
        (SQUARE + "f 1 2 9\n", "face 0 references vertex 8; the mesh has 4"),
        (SQUARE + "f 1/1 2/2 3/9\n", "face 0 references texture coordinate 8; the mesh has 3"),
        (SQUARE + "f 1 2 0\n", "line 8, 'f 1 2 0': index 0 points at nothing"),
        (SQUARE + "f 1 2 3\nf 1 2 -5\n", "line 9.*index -5 points at nothing"),
        (SQUARE + "f 1/1 2/-4 3/1\n", "line 8.*index -4"),
        (SQUARE + "f 1 2\n", "line 8, 'f 1 2': a face needs 3 corners"),
        (SQUARE + "f\n", "line 8, 'f': a face needs"),
        (SQUARE + "f 1 2 x\n", "line 8, 'f 1 2 x': not a number"),
        (SQUARE + "f 1 2 3.5\n", "not a number"),
        (SQUARE + "f 1 /2 3 4\n", "line 8.*not a number"),
        (SQUARE + "f 1 2 99999999999999999999\n", "face 0 references vertex"),
        ("v 0 0\nf 1 1 1\n", "line 1, 'v 0 0': expected 3 numbers"),
        ("v 0 0 0\nv 0 0 1,5\nf 1 1 1\n", "line 2, 'v 0 0 1,5': not a number"),
        ("v 0 0 1.2.3\nf 1 1 1\n", "line 1.*not a number"),
        ("v 0 nan 0\nf 1 1 1\n", "vertex 0 is"),
        ("v 0 1e999 0\nf 1 1 1\n", "vertex 0 is"),
        ("v 0 0 0\x000\nf 1 1 1\n", "line 1"),
        ("vt 0\n" + SQUARE + "f 1 2 3\n", "line 1, 'vt 0': expected 2"),
    ],
)
def test_bad_lines_say_where(read: Reader, text: str, message: str) -> None:
    with pytest.raises(MeshFileError, match=message) as caught:
        read(text)
    assert "head.obj: " in str(caught.value)


def test_a_scan_of_200_000_triangles_is_quick(read: Reader) -> None:
    side = 317
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    points = np.stack([x.ravel(), y.ravel(), np.sin(x.ravel() * 0.1)], axis=1)
    i = (x[:-1, :-1] + side * y[:-1, :-1]).ravel() + 1
    faces = np.stack([i, i + 1, i + side + 1, i + side], axis=1)
    text = "v %.6f %.6f %.6f\n" * len(points) % tuple(points.ravel())
    text += "f %d//%d %d//%d %d//%d %d//%d\n" * len(faces) % tuple(np.repeat(faces, 2, axis=1).ravel())
    started = time.perf_counter()
    mesh = read(text)
    assert time.perf_counter() - started < 5  # 0.4 s on a quiet 2.45 GHz core
    assert len(mesh.faces) == 2 * len(faces)
    assert np.array_equal(mesh.face_indices.reshape(-1, 4), faces - 1)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name", ["ict-facekit/FaceXModel/generic_neutral_mesh.obj", "makehuman/3dobjs/base.obj"]
)
def test_heads_of_others_as_the_obvious_reader_has_them(name: str) -> None:
    mesh = read_mesh(SHARED / name)
    vertices, faces, uvs = slow_read(SHARED / name)
    assert np.array_equal(mesh.vertices, np.array(vertices, np.float32))
    assert mesh.face_sizes.tolist() == [len(face) for face in faces]
    assert mesh.face_indices.tolist() == [i for face in faces for i in face]
    assert mesh.uv_indices is not None
    assert mesh.uv_indices.tolist() == [i for uv in uvs for i in uv]
