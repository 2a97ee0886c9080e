"""Damaged and hostile files: each one works or raises a typed error, within bounded memory and time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raf_runtime.errors import MeshFileError
from raf_sdk import Mesh, Rig
from raf_sdk.io import read_mesh

POINTS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
FACES = np.array([[0, 1, 2, 3], [3, 2, 4, -1], [4, 5, 6, 7]])

PLY = (
    "ply\nformat {} 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    "element face 3\nproperty list uchar int vertex_indices\nend_header\n"
)


def samples(folder: Path) -> dict[str, bytes]:
    """One small valid file of each format."""
    mesh = Mesh.from_triangles(POINTS, FACES)
    rig = Rig(mesh, ("a", "b"), np.stack([POINTS, POINTS * 0]))
    rig.save(folder / "sample.glb")
    rig.save(folder / "sample.gltf")
    rig.save(folder / "sample.obj")
    text = PLY.format("ascii") + "".join(f"{x} {y} {z}\n" for x, y, z in POINTS.tolist())
    binary = PLY.format("binary_little_endian").encode() + POINTS.tobytes()
    for face in FACES.tolist():
        corners = [i for i in face if i >= 0]
        text += f"{len(corners)} {' '.join(map(str, corners))}\n"
        binary += bytes([len(corners)]) + np.array(corners, "<i4").tobytes()
    facets = np.zeros(len(mesh.faces), np.dtype([("n", "<f4", 3), ("p", "<f4", (3, 3)), ("a", "<u2")]))
    facets["p"] = POINTS[mesh.faces]
    stl_text = "solid a\n" + "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in t)
        + "endloop\nendfacet\n"
        for t in facets["p"].tolist()
    )
    return {
        "a.glb": (folder / "sample.glb").read_bytes(),
        "a.gltf": (folder / "sample.gltf").read_bytes(),
        "a.obj": (folder / "sample" / "neutral.obj").read_bytes(),
        "text.ply": text.encode(),
        "binary.ply": binary,
        "binary.stl": bytes(80) + np.uint32(len(facets)).tobytes() + facets.tobytes(),
        "text.stl": stl_text.encode(),
    }


NAMES = ("a.glb", "a.gltf", "a.obj", "text.ply", "binary.ply", "binary.stl", "text.stl")


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_work_or_raise_a_typed_error(tmp_path: Path, name: str) -> None:
    whole = samples(tmp_path)[name]
    path = tmp_path / name
    path.write_bytes(whole)
    read_mesh(path)
    generator = np.random.default_rng(7)
    for attempt in range(400):
        data = np.frombuffer(whole, np.uint8).copy()
        if attempt % 4 == 0:
            data = data[: generator.integers(1, len(data))]
        else:
            places = generator.integers(0, len(data), generator.integers(1, 8))
            data[places] = (
                generator.integers(0, 256, len(places))
                if attempt % 2
                else np.frombuffer(b"90e-/", np.uint8)[attempt % 5]
            )
        path.write_bytes(data.tobytes())
        try:
            mesh = read_mesh(path)
        except MeshFileError as error:
            assert str(path) in str(error)
        else:
            assert np.isfinite(mesh.vertices).all()
            assert mesh.faces.min() >= 0
            assert mesh.faces.max() < len(mesh.vertices)


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".glb", ".gltf"])
def test_files_of_another_kind(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"head{suffix}"
    for data in (
        b"\0",
        b"\n",
        b" ",
        b"PK\3\4" + bytes(200),
        bytes(range(256)) * 9,
        b"\x80\4\x95",
        b"#" * 999,
        b"\\\n" * 99,
    ):
        path.write_bytes(data)
        with pytest.raises(MeshFileError, match="head"):
            read_mesh(path)


def test_devices_and_oversized_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "zero.obj").symlink_to("/dev/zero")
    with pytest.raises(MeshFileError, match="not a regular file"):
        read_mesh(tmp_path / "zero.obj")
    with (tmp_path / "sparse.obj").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MeshFileError, match="at most 1,073,741,824 are read"):
        read_mesh(tmp_path / "sparse.obj")


def test_counts_that_lie_allocate_nothing(tmp_path: Path) -> None:
    """Read files that promise billions of elements in a process that may not hold them."""
    ply = (
        PLY.replace("vertex 8", "vertex 3000000000").format("binary_little_endian").encode()
        + POINTS.tobytes()
    )
    (tmp_path / "a.ply").write_bytes(ply)
    ply = (
        PLY.replace("face 3", "face 3000000000").format("binary_little_endian").encode()
        + POINTS.tobytes()
        + bytes(99)
    )
    (tmp_path / "b.ply").write_bytes(ply)
    (tmp_path / "c.stl").write_bytes(bytes(80) + b"\xff\xff\xff\x7f" + bytes(500))
    accessor = '{"componentType": 5126, "count": 2000000000, "type": "VEC3"}'
    (tmp_path / "d.gltf").write_text(
        '{"asset": {"version": "2.0"}, "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],'
        f'"accessors": [{accessor}]}}'
    )
    script = (
        "import sys, resource, raf_sdk.io as io, raf_sdk\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        io.read_mesh(path)\n"
        "    except raf_sdk.MeshFileError as error:\n"
        "        print(error)\n"
    )
    paths = [str(tmp_path / name) for name in ("a.ply", "b.ply", "c.stl", "d.gltf")]
    done = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) == 4, done.stdout
