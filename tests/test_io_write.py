from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from raf_runtime.errors import OutputError
from raf_sdk import Mesh, Rig
from raf_sdk._mesh import Group
from raf_sdk.io import read_mesh
from raf_sdk.io._shading import smooth_normals

if TYPE_CHECKING:
    from tests.gltf_builder import validator_issues
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from gltf_builder import validator_issues

NAMES = ("jawOpen", "mouthSmileLeft", "tongueOut")
SUFFIXES = (".glb", ".gltf", ".npz", ".obj")


def cube(count: int = 6) -> Mesh:
    """A cube of quads with UV seams along its edges, two materials, and faces at the end without a group."""
    u, v = np.meshgrid(np.arange(count + 1), np.arange(count + 1))
    plane = np.stack([u.ravel(), v.ravel(), np.zeros(u.size)], axis=1) * 2 / count - 1
    plane[:, 2] = 1
    turns = [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    sides = [plane[:, turn] * sign for turn in turns for sign in (1, -1)]
    points, place = np.unique(np.concatenate(sides).round(6), axis=0, return_inverse=True)
    i = (u[:-1, :-1] + (count + 1) * v[:-1, :-1]).ravel()
    quad = np.stack([i, i + 1, i + count + 2, i + count + 1], axis=1)
    corners = [(quad if side % 2 == 0 else quad[:, ::-1]) + side * len(plane) for side in range(6)]
    faces = np.concatenate(corners).ravel()
    uvs = np.concatenate([(side[:, :2] + 1) / 2 for side in [plane] * 6])
    n = count * count
    groups = (
        Group("face", "skin", 0, 3 * n),
        Group("eye", "cornea", 3 * n, n),
        Group("face", "skin", 4 * n, n),
    )
    sizes = np.full(6 * n, 4, np.int32)
    return Mesh(
        points.astype(np.float32), place[faces].astype(np.int32), sizes, uvs.astype(np.float32), faces, groups
    )


def uv_values(mesh: Mesh) -> np.ndarray:
    """(N,) a number for each distinct texture coordinate of a corner."""
    assert mesh.uvs is not None
    assert mesh.uv_indices is not None
    return np.unique(mesh.uvs[mesh.uv_indices], axis=0, return_inverse=True)[1]


def rig_of(mesh: Mesh) -> Rig:
    """One pose that moves some vertices, one that moves all, one that moves none."""
    generator = np.random.default_rng(1)
    deltas = np.zeros((3, len(mesh.vertices), 3), np.float32)
    deltas[0, ::5] = generator.normal(size=deltas[0, ::5].shape)
    deltas[0, 1] = 1e-8
    deltas[1] = generator.normal(size=deltas[1].shape)
    return Rig(mesh, NAMES, deltas)


def accessor(root: dict[str, Any], data: bytes, index: int) -> np.ndarray:
    """A second, naive reading of accessors, sparse ones included."""
    entry = root["accessors"][index]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry["type"]]
    dtype = {5123: "<u2", 5125: "<u4", 5126: "<f4"}

    def take(part: dict[str, Any], code: int, shape: tuple[int, int]) -> np.ndarray:
        view = root["bufferViews"][part["bufferView"]]
        start = view["byteOffset"] + part.get("byteOffset", 0)
        assert start % np.dtype(dtype[code]).itemsize == 0
        count = shape[0] * shape[1]
        assert part.get("byteOffset", 0) + count * np.dtype(dtype[code]).itemsize <= view["byteLength"]
        return np.frombuffer(data, dtype[code], count, start).reshape(shape)

    code, count = entry["componentType"], entry["count"]
    if "bufferView" in entry:
        return take(entry, code, (count, width))
    values = np.zeros((count, width), np.float32)
    sparse = entry["sparse"]
    assert 1 <= sparse["count"] <= count
    places = take(sparse["indices"], sparse["indices"]["componentType"], (sparse["count"], 1))[:, 0]
    assert (np.diff(places.astype(int)) > 0).all()
    values[places] = take(sparse["values"], 5126, (sparse["count"], width))
    return values


def open_gltf(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    if path.suffix == ".gltf":
        root = json.loads(data)
        return root, (path.parent / root["buffers"][0]["uri"]).read_bytes()
    assert data[:4] == b"glTF"
    assert int.from_bytes(data[8:12], "little") == len(data)
    length = int.from_bytes(data[12:16], "little")
    root = json.loads(data[20 : 20 + length])
    binary = data[28 + length :]
    assert length % 4 == 0
    assert root["buffers"] == [{"byteLength": len(binary)}]
    return root, binary


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_gltf_holds_the_rig_vertex_by_vertex(tmp_path: Path, suffix: str) -> None:
    rig = rig_of(cube())
    rig.save(tmp_path / f"head{suffix}")
    root, data = open_gltf(tmp_path / f"head{suffix}")
    mesh = root["meshes"][0]
    assert mesh["extras"] == {"targetNames": list(NAMES)}
    assert mesh["weights"] == [0, 0, 0]
    assert [m.get("name") for m in root["materials"]] == [None, "skin", "cornea"]
    assert len(mesh["primitives"]) == 3

    first = mesh["primitives"][0]
    count = len(rig.vertices)
    source = np.arange(count)
    positions = accessor(root, data, first["attributes"]["POSITION"])
    assert np.array_equal(positions[:count], rig.vertices)
    extra = len(positions) - count
    assert rig.mesh.uv_indices is not None
    pairs = np.unique(np.stack([rig.mesh.face_indices, uv_values(rig.mesh)], axis=1), axis=0)
    assert extra == len(pairs) - count > 0
    for target in mesh["primitives"]:
        assert target["attributes"] == first["attributes"]
        assert target["targets"] == first["targets"]
        assert all(set(t) == {"POSITION"} for t in target["targets"])
    for row, target in enumerate(first["targets"]):
        moved = accessor(root, data, target["POSITION"])
        np.testing.assert_allclose(moved[source], rig.deltas[row], atol=1e-6 * np.sqrt(12))
        entry = root["accessors"][target["POSITION"]]
        assert entry["min"] == moved.min(axis=0).tolist()
        assert entry["max"] == moved.max(axis=0).tolist()
        assert ("sparse" in entry) == (row != 1)
    assert not accessor(root, data, first["targets"][0]["POSITION"])[1].any()  # too small to see

    normals = accessor(root, data, first["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    triangles = np.concatenate(
        [accessor(root, data, p["indices"]).reshape(-1, 3) for p in mesh["primitives"]]
    )
    order = np.concatenate([np.arange(360, 432), np.arange(216), np.arange(288, 360), np.arange(216, 288)])
    copies = positions[triangles]
    assert np.array_equal(copies, rig.vertices[rig.faces][order])
    uvs = accessor(root, data, first["attributes"]["TEXCOORD_0"])[triangles]
    assert rig.mesh.uvs is not None
    assert rig.mesh.uv_indices is not None
    expected = rig.mesh.uvs[rig.mesh.uv_indices[rig.mesh.triangle_corners]][order]
    np.testing.assert_allclose(np.stack([uvs[..., 0], 1 - uvs[..., 1]], axis=-1), expected, atol=1e-6)


def test_gltf_comes_back_with_input_vertices_first(tmp_path: Path) -> None:
    rig = rig_of(cube())
    rig.save(tmp_path / "head.glb")
    again = read_mesh(tmp_path / "head.glb")
    assert np.array_equal(again.vertices[: len(rig.vertices)], rig.vertices)
    plain = rig_of(Mesh.from_triangles(rig.vertices, rig.faces))
    plain.save(tmp_path / "plain.glb")
    back = read_mesh(tmp_path / "plain.glb")
    assert np.array_equal(back.vertices, plain.vertices)
    assert np.array_equal(back.faces, plain.faces)


def test_equal_uvs_under_many_indices_are_no_seam(tmp_path: Path) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    faces = np.array([0, 1, 2, 0, 2, 3])
    mesh = Mesh(points, faces, np.array([3, 3]), points[faces, :2], np.array([0, 1, 2, 3, -1, 5]))  # pyright: ignore
    Rig(mesh, (), np.empty((0, 4, 3), np.float32)).save(tmp_path / "head.glb")
    again = read_mesh(tmp_path / "head.glb")
    assert np.array_equal(again.vertices, points)
    assert np.array_equal(again.faces, mesh.faces)


def test_wide_indices_beyond_65535_vertices(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(65_600, 3)).astype(np.float32)
    deltas = np.zeros((1, 65_600, 3), np.float32)
    deltas[0, 65_590] = 1
    mesh = Mesh.from_triangles(points, [[0, 1, 65_599], [2, 3, 65_535]])
    Rig(mesh, ("a",), deltas).save(tmp_path / "head.glb")
    root, data = open_gltf(tmp_path / "head.glb")
    assert (
        accessor(root, data, root["meshes"][0]["primitives"][0]["targets"][0]["POSITION"])[65_590].tolist()
        == [1] * 3
    )
    assert np.array_equal(read_mesh(tmp_path / "head.glb").faces, mesh.faces)


def test_normals_run_across_seams_but_not_through_double_walls() -> None:
    soup = cube().vertices[cube().faces].reshape(-1, 3)
    radial = smooth_normals(
        soup / np.linalg.norm(soup, axis=1, keepdims=True),
        np.arange(len(soup), dtype=np.int32).reshape(-1, 3),
    )
    place = np.unique(soup, axis=0, return_inverse=True)[1]
    for corner in np.unique(place)[:20]:
        np.testing.assert_allclose(
            radial[place == corner], radial[place == corner][:1].repeat((place == corner).sum(), 0)
        )
    wall = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]] * 2 + [[9, 9, 9]], np.float32)
    normals = smooth_normals(wall, np.array([[0, 1, 2], [3, 5, 4]], np.int32))
    assert normals.tolist() == [[0, 0, 1]] * 3 + [[0, 0, -1]] * 3 + [[0, 0, 1]]


def test_gltf_validator_finds_nothing(tmp_path: Path) -> None:
    mesh = cube()
    bare = Mesh.from_triangles(mesh.vertices, np.vstack([mesh.faces, [[0, 0, 1]]]))
    for name, rig in {"head.glb": rig_of(mesh), "head.gltf": rig_of(mesh), "bare.glb": rig_of(bare)}.items():
        rig.save(tmp_path / name)
        issues = validator_issues(tmp_path / name)
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_obj_folder_keeps_quads_uvs_and_groups(tmp_path: Path) -> None:
    rig = rig_of(cube())
    rig.save(tmp_path / "head.obj")
    folder = tmp_path / "head"
    assert sorted(file.name for file in folder.iterdir()) == sorted(f"{n}.obj" for n in ("neutral", *NAMES))
    neutral = read_mesh(folder / "neutral.obj")
    for name in ("vertices", "face_indices", "face_sizes", "uvs", "uv_indices"):
        assert np.array_equal(getattr(neutral, name), getattr(rig.mesh, name)), name
    assert [(g.name, g.material) for g in neutral.groups] == [
        ("face", "skin"),
        ("eye", "cornea"),
        ("face", "skin"),
    ]
    for name in NAMES:
        assert np.array_equal(read_mesh(folder / f"{name}.obj").vertices, rig.evaluate({name: 1}))


def test_obj_folder_replaces_only_an_earlier_rig(tmp_path: Path) -> None:
    rig = rig_of(cube(1))
    folder = tmp_path / "head"
    folder.mkdir()
    rig.save(tmp_path / "head.obj")
    Rig(rig.mesh, ("jawOpen",), rig.deltas[:1]).save(tmp_path / "head.obj")
    assert sorted(file.name for file in folder.iterdir()) == ["jawOpen.obj", "neutral.obj"]

    own = Rig(read_mesh(folder / "neutral.obj"), NAMES, rig.deltas)
    with pytest.raises(OutputError, match="holds the mesh that was read"):
        own.save(tmp_path / "head.obj")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds 'notes.txt', which is not part of an earlier rig"):
        rig.save(tmp_path / "head.obj")
    assert len(list(folder.iterdir())) == 3
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is no folder"):
        rig.save(tmp_path / "file.obj")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "head"]


@pytest.mark.parametrize("name", ["../escape", "a/b", "neutral", ".hidden", "Neutral", "a\0"])
def test_pose_names_that_are_no_file_names(tmp_path: Path, name: str) -> None:
    rig = rig_of(cube(1))
    with pytest.raises(OutputError, match="cannot name a file"):
        Rig(rig.mesh, (name,), rig.deltas[:1]).save(tmp_path / "head.obj")
    assert list(tmp_path.iterdir()) == []


def test_npz_needs_no_pickle(tmp_path: Path) -> None:
    rig = rig_of(cube())
    rig.save(str(tmp_path / "head.npz"))
    with np.load(tmp_path / "head.npz", allow_pickle=False) as file:
        assert tuple(file["names"]) == NAMES
        for name in ("deltas", "vertices", "faces"):
            assert np.array_equal(file[name], getattr(rig, name))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_paths_that_cannot_be_written(tmp_path: Path, suffix: str) -> None:
    rig = rig_of(cube(1))
    with pytest.raises(OutputError, match="create it first"):
        rig.save(tmp_path / "none" / f"head{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        rig.save(tmp_path / f"folder{suffix}")
    with pytest.raises(OutputError, match="cannot be written"):
        rig.save(tmp_path / f"head\0{suffix}")
    with pytest.raises(OutputError, match="cannot be written"):
        rig.save(tmp_path / f"{'x' * 300}{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == [f"folder{suffix}"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is unwritable to root")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_folders_without_permission(tmp_path: Path, suffix: str) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            rig_of(cube(1)).save(tmp_path / f"head{suffix}")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["head", "head.fbx"])
def test_unknown_suffixes(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"the formats that are written are .glb, .gltf, .vrm, .obj, .npz"):
        rig_of(cube(1)).save(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rig = rig_of(cube(1))
    rig.save(tmp_path / f"head{suffix}")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OutputError, match="No space left"):
        rig_of(cube(2)).save(tmp_path / f"head{suffix}")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj"])
def test_the_input_is_never_overwritten(tmp_path: Path, suffix: str) -> None:
    first = rig_of(cube(1))
    first.save(tmp_path / f"head{suffix}")
    path = tmp_path / f"head{suffix}"
    if suffix == ".obj":
        path.write_bytes((tmp_path / "head" / "neutral.obj").read_bytes())
    before = path.read_bytes()
    mesh = read_mesh(path)
    rig = Rig(mesh, ("a",), np.zeros((1, *mesh.vertices.shape), np.float32))
    (tmp_path / f"link{suffix}").symlink_to(path)
    for target in (path, tmp_path / f"link{suffix}"):
        with pytest.raises(OutputError, match="is the mesh that was read"):
            rig.save(target)
    if suffix == ".gltf":
        (tmp_path / "other.bin").write_bytes(b"a buffer of the input, for all we know")
        with pytest.raises(OutputError, match="may belong to the input"):
            rig.save(tmp_path / "other.gltf")
    assert path.read_bytes() == before
