"""Rigs of any tool: names, sparse and dense targets, several meshes, transforms, and damaged files."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raf_runtime.errors import MeshFileError
from raf_sdk import Mesh, Rig

POINTS = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
FACES = np.array([[0, 1, 2, 3], [3, 2, 4, -1], [4, 5, 6, 7]])
DELTAS = np.random.default_rng(1).normal(size=(2, 8, 3)).astype(np.float32)
NAMES = ("jawOpen", "eyeBlinkLeft")
RIG = Rig(Mesh.from_triangles(POINTS, FACES), NAMES, DELTAS)

Json = dict[str, Any]


class Gltf:
    """A document with a triangle for each mesh and whatever targets it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.json: Json = {"asset": {"version": "2.0"}, "nodes": [], "meshes": []}
        self.json |= {"accessors": [], "bufferViews": []}

    def accessor(self, values: Any, **extra: Any) -> int:
        data = np.asarray(values, "<f4").tobytes()
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        entry = {"bufferView": len(self.json["bufferViews"]) - 1, "componentType": 5126, "type": "VEC3"}
        self.json["accessors"].append({**entry, "count": len(values), **extra})
        return len(self.json["accessors"]) - 1

    def sparse(self, count: int, index: int, value: Any) -> int:
        places = self.accessor(np.frombuffer(np.uint32(index).tobytes(), "<f4")[:, None])
        values = self.accessor([value])
        views = [self.json["accessors"][i]["bufferView"] for i in (places, values)]
        sparse = {"count": 1, "values": {"bufferView": views[1]}}
        sparse["indices"] = {"bufferView": views[0], "componentType": 5125}
        self.json["accessors"].append(
            {"componentType": 5126, "type": "VEC3", "count": count, "sparse": sparse}
        )
        return len(self.json["accessors"]) - 1

    def mesh(self, targets: list[int], names: list[str] | None, **node: Any) -> None:
        primitive: Json = {"attributes": {"POSITION": self.accessor(POINTS[:3])}}
        primitive["targets"] = [{"POSITION": target} for target in targets]
        mesh: Json = {"primitives": [primitive]}
        if names is not None:
            mesh["extras"] = {"targetNames": names}
        self.json["meshes"].append(mesh)
        self.json["nodes"].append({"mesh": len(self.json["meshes"]) - 1, **node})

    def save(self, path: Path) -> Path:
        self.json["buffers"] = [{"byteLength": len(self.data)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + b"\0" * (-len(self.data) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path


@pytest.mark.parametrize("name", ["rig.glb", "rig.gltf", "rig.npz", "rig.obj"])
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    RIG.save(tmp_path / name)
    read = Rig.load(tmp_path / name.removesuffix(".obj"))
    order = [read.names.index(shape) for shape in NAMES]
    assert len(read.names) == 2
    np.testing.assert_allclose(read.vertices, POINTS, rtol=1e-6)
    np.testing.assert_allclose(read.deltas[order], DELTAS, atol=1e-6)
    assert len(read.faces) == len(RIG.faces)


def test_meshes_share_targets_by_name_and_transforms_turn_them(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh([gltf.accessor(DELTAS[0, :3]), gltf.accessor(DELTAS[1, :3])], ["Fcl_Joy", "head.EyeBlink_L"])
    gltf.mesh(
        [gltf.accessor(DELTAS[0, 3:6])],
        ["head.EyeBlink_L"],
        translation=[5, 0, 0],
        rotation=[0, 0, 0.5**0.5, 0.5**0.5],
        scale=[2, 2, 2],
    )
    rig = Rig.load(gltf.save(tmp_path / "rig.glb"))
    assert rig.names == ("head.EyeBlink_L",)
    np.testing.assert_allclose(rig.deltas[0, :3], DELTAS[1, :3])
    turned = 2 * DELTAS[0, 3:6] @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(rig.deltas[0, 3:], turned, atol=1e-5)
    np.testing.assert_allclose(rig.vertices[3:, 0], 5 - 2 * POINTS[:3, 1], atol=1e-5)


def test_joints_turn_targets_as_they_turn_vertices(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh([gltf.accessor(DELTAS[0, :3])], ["jawOpen"], skin=0)
    gltf.json["nodes"].append({"translation": [5, 0, 0], "scale": [2, 2, 2]})
    gltf.json["skins"] = [{"joints": [1]}]
    attributes = gltf.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["JOINTS_0"] = gltf.accessor(np.zeros((3, 4)), type="VEC4", componentType=5121)
    attributes["WEIGHTS_0"] = gltf.accessor([[1, 0, 0, 0]] * 3, type="VEC4")
    rig = Rig.load(gltf.save(tmp_path / "rig.vrm"))  # which is a GLB
    np.testing.assert_allclose(rig.vertices, 2 * POINTS[:3] + [5, 0, 0])
    np.testing.assert_allclose(rig.deltas[0], 2 * DELTAS[0, :3])


def test_sparse_targets_and_names_of_accessors(tmp_path: Path) -> None:
    gltf = Gltf()
    target = gltf.sparse(3, 1, [1, 2, 3])
    gltf.json["accessors"][target]["name"] = "jawOpen"
    gltf.mesh([target], None)
    rig = Rig.load(gltf.save(tmp_path / "rig.glb"))
    assert rig.names == ("jawOpen",)
    np.testing.assert_array_equal(rig.deltas[0], [[0, 0, 0], [1, 2, 3], [0, 0, 0]])


def test_a_file_without_arkit_shapes_says_what_it_has(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh([gltf.accessor(DELTAS[0, :3])], ["Fcl_Joy"])
    with pytest.raises(MeshFileError, match=r"rig\.glb: no morph target .* it has 'Fcl_Joy': rename them"):
        Rig.load(gltf.save(tmp_path / "rig.glb"))
    gltf = Gltf()
    gltf.mesh([], None)
    with pytest.raises(MeshFileError, match="no named targets"):
        Rig.load(gltf.save(tmp_path / "rig.glb"))


def test_a_target_of_another_length_is_refused(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh([gltf.accessor(DELTAS[0])], ["jawOpen"])
    with pytest.raises(MeshFileError, match="'jawOpen', has 8 displacements for 3 vertices"):
        Rig.load(gltf.save(tmp_path / "rig.glb"))


def test_small_files_do_not_unpack_into_large_ones(tmp_path: Path) -> None:
    gltf = Gltf()
    zeros = {"componentType": 5126, "type": "VEC3", "count": 9_000_000}
    gltf.json["accessors"] += [zeros] * 6
    gltf.mesh([1, 2, 3, 4, 5], ["jawOpen", "jawLeft", "jawRight", "jawForward", "tongueOut"])
    gltf.json["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = 0
    with pytest.raises(MeshFileError, match="at most 40,000,000 displacements are read"):
        Rig.load(gltf.save(tmp_path / "rig.glb"))

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000, 9, 3), }"
    lie = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(24)
    RIG.save(tmp_path / "good.npz")
    path = tmp_path / "rig.npz"
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, lie if name == "deltas.npy" else good.read(name))
    with pytest.raises(MeshFileError, match="deltas promises"):
        Rig.load(path)


def test_arrays_that_are_no_rig_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rig.npz"
    parts: Json = {"names": np.array(NAMES), "deltas": DELTAS, "vertices": POINTS, "faces": RIG.faces}
    for change, says in (
        ({"names": np.array(NAMES, object)}, "Object arrays cannot be loaded|promises"),
        ({"names": np.array(["a", "b"])}, "none of its shapes"),
        ({"deltas": DELTAS[:1]}, "do not fit"),
        ({"deltas": DELTAS[:, :3]}, "deltas have shape"),
        ({"deltas": DELTAS * np.nan}, "not finite"),
        ({"faces": RIG.faces + 90}, "references vertex"),
    ):
        np.savez(path, allow_pickle=True, **{**parts, **change})
        with pytest.raises(MeshFileError, match=says) as caught:
            Rig.load(path)
        assert str(path) in str(caught.value)
    del parts["faces"]
    np.savez(path, **parts)
    with pytest.raises(MeshFileError, match=r"faces\.npy"):
        Rig.load(path)


@pytest.mark.parametrize("name", ["rig.glb", "rig.gltf", "rig.npz"])
def test_damaged_files_work_or_raise_a_typed_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    RIG.save(path)
    whole = path.read_bytes()
    generator = np.random.default_rng(7)
    for attempt in range(300):
        data = np.frombuffer(whole, np.uint8).copy()
        if attempt % 4 == 0:
            data = data[: generator.integers(1, len(data))]
        else:
            places = generator.integers(0, len(data), generator.integers(1, 8))
            data[places] = generator.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            rig = Rig.load(path)
        except MeshFileError as error:
            assert str(path) in str(error)
        else:
            assert np.isfinite(rig.deltas).all()


def test_obj_folders_of_two_topologies_are_refused(tmp_path: Path) -> None:
    RIG.save(tmp_path / "rig.obj")
    (tmp_path / "rig" / "jawOpen.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(MeshFileError, match=r"jawOpen\.obj has 3 vertices, neutral\.obj 8"):
        Rig.load(tmp_path / "rig")


def test_an_array_whose_header_is_cut_short_is_refused(tmp_path: Path) -> None:
    RIG.save(tmp_path / "good.npz")
    path = tmp_path / "rig.npz"
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "deltas.npy":  # the dictionary in the header ends after its first key
                data = data[:8] + struct.pack("<H", 10) + b"{'descr': " + data[20:]
            bad.writestr(name, data)
    with pytest.raises(MeshFileError, match=r"rig\.npz: it is not an \.npz archive that can be read"):
        Rig.load(path)


def test_a_stream_that_does_not_unpack_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rig.npz"
    RIG.save(path)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("deltas.npy")
    data = bytearray(path.read_bytes())
    start = entry.header_offset + 30 + len("deltas.npy")
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(bytes(data))
    with pytest.raises(MeshFileError, match=r"rig\.npz"):
        Rig.load(path)
