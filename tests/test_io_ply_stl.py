from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raf_runtime.errors import MeshFileError
from raf_sdk import Mesh
from raf_sdk.io import read_mesh

Reader = Callable[[str, str | bytes], Mesh]

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 2]], np.float32)
MIXED = [[0, 1, 2, 3], [0, 1, 4], [0, 1, 2, 3, 4]]
ASCII = """ply
format ascii 1.0
comment made by hand
element vertex 4
property float x
property float y
property float z
element face 2
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
1 1 0
0 1 0
3 0 1 2
4 0 1 2 3
"""


@pytest.fixture
def read(tmp_path: Path) -> Reader:
    def reader(suffix: str, content: str | bytes) -> Mesh:
        path = tmp_path / f"head.{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_mesh(path)

    return reader


def binary_ply(order: str, faces: list[list[int]], count: str = "uchar", index: str = "int") -> bytes:
    """Extra properties around x y z and around the list of the faces, and an element between the two."""
    code = {"uchar": "B", "int": "i", "uint": "I", "ushort": "H", "char": "b"}
    name = {"<": "binary_little_endian", ">": "binary_big_endian"}[order]
    header = (
        f"ply\nformat {name} 1.0\nelement vertex {len(POINTS)}\nproperty uchar red\nproperty double x\n"
        "property float z\nproperty float y\nproperty float s\nproperty float t\n"
        "element edge 2\nproperty list uchar int ends\nproperty short kind\n"
        f"element face {len(faces)}\nproperty uchar flag\nproperty list {count} {index} vertex_index\n"
        "property list uchar float texcoord\nelement tail 3\nproperty int n\nend_header\n"
    )
    body = b"".join(struct.pack(order + "Bdffff", 7, x, z, y, x / 2, y / 2) for x, y, z in POINTS.tolist())
    body += struct.pack(order + "Biih", 2, 0, 1, 5) + struct.pack(order + "Biiih", 3, 0, 1, 2, 5)
    for face in faces:
        body += struct.pack(f"{order}B{code[count]}{len(face)}{code[index]}", 1, len(face), *face)
        body += struct.pack(f"{order}B{len(face)}f", len(face), *[0.5] * len(face))
    return header.encode() + body


def test_text_ply(read: Reader) -> None:
    mesh = read("ply", ASCII)
    assert mesh.face_sizes.tolist() == [3, 4]
    assert mesh.face_indices.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert np.array_equal(mesh.vertices, POINTS[:4])
    assert np.array_equal(read("ply", ASCII.replace("\n", "\r\n")).face_indices, mesh.face_indices)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("count", "index"), [("uchar", "int"), ("uint", "ushort"), ("char", "uint")])
@pytest.mark.parametrize("faces", [MIXED, [[0, 1, 2], [2, 3, 4]]], ids=["mixed", "uniform"])
def test_binary_ply(read: Reader, order: str, count: str, index: str, faces: list[list[int]]) -> None:
    mesh = read("ply", binary_ply(order, faces, count, index))
    assert np.array_equal(mesh.vertices, POINTS)
    assert mesh.face_sizes.tolist() == [len(face) for face in faces]
    assert mesh.face_indices.tolist() == [i for face in faces for i in face]
    assert mesh.uvs is not None
    assert np.array_equal(mesh.uvs, POINTS[:, :2] / 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("plyometrics", "no PLY header"),
        ("ply\nformat ascii 1.0\nelement vertex 1\n", "no PLY header"),
        (ASCII.replace("ascii", "utf8"), "line 2 of the header"),
        (ASCII.replace("format ascii 1.0\n", ""), "names no format"),
        (ASCII.replace("float y", "half y"), "line 6 of the header"),
        (ASCII.replace("vertex 4", "vertex -4"), "line 4 of the header"),
        (ASCII.replace("element vertex 4\n", ""), "line 4 of the header"),
        (ASCII.replace("float z", "float w"), "x, y and z"),
        (
            ASCII.replace("vertex 4", "vertex 4000000000000"),
            "ends before its 4,000,000,000,000 rows of 'vertex'",
        ),
        (ASCII.replace("face 2", "face 3"), "truncated"),
        (ASCII.replace("face 2", "face 999999999999"), "ends before its 999,999,999,999 rows of 'face'"),
        (ASCII.replace("4 0 1", "400 0 1"), "truncated"),
        (ASCII.replace("4 0 1", "-4 0 1"), "a list of length -4"),
        (ASCII.replace("4 0 1", "1e300 0 1"), "whole number"),
        (ASCII.replace("4 0 1", "nan 0 1"), "whole number"),
        (ASCII.replace("4 0 1 2", "4 0 1 2.5"), "2.5 stands where a whole number belongs"),
        (ASCII.replace("4 0 1 2", "4 0 1 9"), "face 1 references vertex 9; the mesh has 4"),
        (ASCII.replace("3 0 1 2\n", "2 0 1\n"), "face 0 has 2 corners"),
        (ASCII.replace("1 1 0", "1 one 0"), "not a number"),
        (ASCII.replace("1 1 0", "1 nan 0"), "vertex 2 is"),
        (ASCII[: ASCII.index("element face")] + "end_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n", "point cloud"),
        (ASCII.replace("list uchar int", "int"), "no faces"),
        (ASCII.replace("face 2", "face 0"), "no faces"),
        (ASCII.replace("vertex 4", "vertex 0"), "no vertices|whole number|truncated"),
    ],
)
def test_bad_ply_says_what(read: Reader, content: str, message: str) -> None:
    with pytest.raises(MeshFileError, match=message):
        read("ply", content)


def test_truncated_binary_ply_never_reads_past_its_end(read: Reader) -> None:
    content = binary_ply("<", MIXED)  # its tail element is promised but missing, and nobody reads it
    assert len(read("ply", content).face_sizes) == 3
    for end in range(content.index(b"end_header"), len(content)):
        with pytest.raises(MeshFileError):
            read("ply", content[:end])


def stl(count: int, triangles: np.ndarray, header: bytes = b"") -> bytes:
    body = b"".join(struct.pack("<12fH", 0, 0, 1, *triangle.ravel(), 0) for triangle in triangles)
    return header.ljust(80) + struct.pack("<I", count) + body


TRIANGLES = POINTS[[[0, 1, 2], [0, 2, 3], [2, 4, 3]]]
STL_TEXT = "solid head\n" + "".join(
    "  facet normal 0 0 1\n    outer loop\n"
    + "".join(f"      vertex {x} {y} {z}\n" for x, y, z in triangle)
    + "    endloop\n  endfacet\n"
    for triangle in TRIANGLES.tolist()
)


@pytest.mark.parametrize(
    "content",
    [
        stl(3, TRIANGLES),
        stl(3, TRIANGLES, b"solid made by CAD facet"),
        stl(3, TRIANGLES) + b"trailing",
        (STL_TEXT + "endsolid head\n").encode(),
        STL_TEXT.upper().replace("\n", "\r\n").encode(),
    ],
    ids=["binary", "binary named solid", "trailing", "text", "upper case"],
)
def test_stl_keeps_every_corner_in_file_order(read: Reader, content: bytes) -> None:
    mesh = read("stl", content)
    assert np.array_equal(mesh.vertices, TRIANGLES.reshape(-1, 3))
    assert mesh.faces.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"solid", "too few"),
        (stl(4, TRIANGLES), "promises 4 triangles, which takes 284 bytes; the file has 234"),
        (stl(0xFFFFFFFF, TRIANGLES), "promises 4,294,967,295 triangles"),
        (stl(0, TRIANGLES[:0]), "no vertices"),
        (stl(3, TRIANGLES * np.float32(np.nan)), "vertex 0 is"),
        (STL_TEXT.replace("vertex 0.5 0.5 2.0", "vertex 0.5 0.5"), "expected 3 numbers"),
        (STL_TEXT.replace("vertex 0.5 0.5 2.0", "vertex 0.5 0.5 z"), "not a number"),
        (STL_TEXT.replace("vertex 0.5 0.5 2.0", ""), "truncated"),
        ("solid nothing\nendsolid nothing\n", "no vertices"),
    ],
)
def test_bad_stl_says_what(read: Reader, content: bytes | str, message: str) -> None:
    with pytest.raises(MeshFileError, match=message):
        read("stl", content)
