from __future__ import annotations

import base64
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.errors import MeshFileError
from raf_sdk import Mesh
from raf_sdk.io import read_mesh

if TYPE_CHECKING:
    from tests.gltf_builder import POINTS, Builder, Json
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from gltf_builder import POINTS, Builder, Json

Read = Callable[[Builder | bytes], Mesh]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(content: Builder | bytes) -> Mesh:
        path = tmp_path / "head.glb"
        path.write_bytes(content if isinstance(content, bytes) else content.glb())
        return read_mesh(path)

    return reader


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_indices_of_every_width(read: Read, dtype: str) -> None:
    b = Builder()
    b.mesh({"attributes": {"POSITION": b.accessor(POINTS)}, "indices": b.accessor([0, 1, 2, 0, 2, 3], dtype)})
    mesh = read(b)
    assert np.array_equal(mesh.vertices, POINTS)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("mode", "faces"),
    [(4, [[0, 1, 2]]), (5, [[0, 1, 2], [1, 3, 2]]), (6, [[1, 2, 0], [2, 3, 0]])],
    ids=["triangles", "strip", "fan"],
)
def test_modes_without_indices(read: Read, mode: int, faces: list[list[int]]) -> None:
    b = Builder()
    b.mesh({"attributes": {"POSITION": b.accessor(POINTS)}, "mode": mode})
    assert read(b).faces.tolist() == faces


def test_points_and_lines_are_left_out(read: Read) -> None:
    b = Builder()
    b.mesh(*({**b.triangle(), "mode": mode} for mode in (0, 1, 2, 3)), b.triangle())
    assert len(read(b).vertices) == 3
    only = Builder()
    only.mesh({**only.triangle(), "mode": 0})
    with pytest.raises(MeshFileError, match="no triangle mesh"):
        read(only)


def test_nodes_are_one_head_in_depth_first_order_with_world_transforms(read: Read) -> None:
    b = Builder()
    b.mesh(b.triangle())
    half = float(np.sqrt(0.5))
    b.json["scenes"], b.json["scene"] = [{"nodes": [3]}, {"nodes": [0, 2]}], 1
    b.json["nodes"] = [
        {"name": "root", "translation": [0, 0, 10], "children": [4, 1], "mesh": 0},
        {"name": "turned", "mesh": 0, "rotation": [0, 0, half, half], "scale": [2, 2, 2]},
        {"name": "matrix", "mesh": 0, "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]},
        {"name": "other scene", "mesh": 0},
        {"name": "mirrored", "mesh": 0, "scale": [-1, 1, 1]},
    ]
    mesh = read(b)
    assert [group.name for group in mesh.groups] == ["root", "mirrored", "turned", "matrix"]
    points = POINTS[:3]
    expected = [
        points + np.array([0, 0, 10]),
        points * [-1, 1, 1] + [0, 0, 10],
        2 * points @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + [0, 0, 10],
        points + np.array([5, 6, 7]),
    ]
    np.testing.assert_allclose(mesh.vertices, np.concatenate(expected), atol=1e-6)
    assert mesh.faces.tolist() == [
        [0, 1, 2],
        [5, 4, 3],
        [6, 7, 8],
        [9, 10, 11],
    ]  # the mirrored one turned back


def skinned(b: Builder, joints: list[list[int]], weights: list[list[float]]) -> Json:
    """A triangle held by a skin of nodes 1 and 2; its own node is moved, which is to be ignored."""
    triangle = b.triangle()
    triangle["attributes"] |= {"JOINTS_0": b.accessor(joints, "u1"), "WEIGHTS_0": b.accessor(weights)}
    b.json["nodes"] = [{"mesh": 0, "skin": 0, "translation": [9, 9, 9]}, {"translation": [0, 0, 1]}, {}]
    b.json["scenes"] = [{"nodes": [0, 1, 2]}]
    b.json["skins"] = [{"joints": [1, 2]}]
    return triangle


FIRST, SECOND, BOTH = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0]


def test_joints_carry_vertices_and_their_node_does_not(read: Read) -> None:
    b = Builder()
    b.mesh(skinned(b, [[0, 1, 0, 0]] * 3, [FIRST, SECOND, BOTH]))
    np.testing.assert_allclose(read(b).vertices, POINTS[:3] + np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0.25]]))


def test_weights_count_by_their_share(read: Read) -> None:
    b = Builder()
    b.mesh(skinned(b, [[0, 1, 0, 0]] * 3, [FIRST, SECOND, [0.5, 1.5, 0.0, 0.0]]))
    np.testing.assert_allclose(read(b).vertices, POINTS[:3] + np.array([[0, 0, 1], [0, 0, 0], [0, 0, 0.25]]))


def test_the_scale_of_a_quantised_mesh_is_in_its_skin(read: Read) -> None:
    b = Builder()
    triangle = skinned(b, [[0, 1, 0, 0]] * 3, [FIRST, SECOND, BOTH])
    b.json["nodes"][1] = {}
    scale = np.diag([0.5, 0.5, 0.5, 1.0])
    scale[:3, 3] = [1, 2, 3]
    inverse = b.accessor(np.tile(scale.T.reshape(16), (2, 1)))
    b.json["skins"][0]["inverseBindMatrices"] = inverse
    b.mesh(triangle)
    assert np.array_equal(read(b).vertices, POINTS[:3] / 2 + np.array([1, 2, 3]))


def test_a_skin_in_the_pose_that_it_was_bound_in_moves_nothing(read: Read) -> None:
    b = Builder()
    triangle = skinned(b, [[0, 1, 0, 0]] * 3, [FIRST, SECOND, BOTH])
    bound = np.tile(np.eye(4), (2, 1, 1))
    bound[0, 2, 3] = -1 + 1e-7
    inverse = b.accessor(bound.transpose(0, 2, 1).reshape(2, 16))
    b.json["skins"][0]["inverseBindMatrices"] = inverse
    b.mesh(triangle)
    assert np.array_equal(read(b).vertices, POINTS[:3])


@pytest.mark.parametrize("points", [np.empty((0, 3)), np.array([[0, 0, np.inf], [1, 0, 0], [0, 1, 0]])])
def test_skins_hold_no_vertices_that_a_mesh_refuses(read: Read, points: NDArray[np.floating]) -> None:
    b = Builder()
    held = skinned(b, [[0, 1, 0, 0]] * len(points), [FIRST] * len(points))
    held["attributes"]["POSITION"] = b.accessor(points)
    if not len(points):
        del held["attributes"]["JOINTS_0"]
    b.mesh(held)
    with pytest.raises(MeshFileError, match=r"no vertices|finite"):
        read(b)


def test_skins_without_influences_hold_nothing(read: Read) -> None:
    b = Builder()
    b.mesh(b.triangle())
    b.json["nodes"] = [{"mesh": 0, "skin": 0, "translation": [9, 9, 9]}]
    b.json["skins"] = [{"joints": [0]}]
    assert np.array_equal(read(b).vertices, POINTS[:3])


@pytest.mark.parametrize(
    ("joints", "edit", "message"),
    [
        ([[2, 0, 0, 0]] * 3, None, "JOINTS_0 is not of the 2 joints"),
        ([[0, 0, 0, 0]] * 2, None, "JOINTS_0 has 2 elements for 3 vertices"),
        ([[0, 0, 0, 0]] * 3, {"joints": []}, "joints of skins.0. are not in the scene"),
        ([[0, 0, 0, 0]] * 3, {"joints": [1, 3]}, r"nodes.3., a joint of skins.0., is not in the scene"),
        ([[0, 0, 0, 0]] * 3, {"joints": [1, 2], "inverseBindMatrices": 0}, "type 'VEC3'; expected 16"),
    ],
)
def test_skins_that_do_not_fit_say_what(
    read: Read, joints: list[list[int]], edit: Json | None, message: str
) -> None:
    b = Builder()
    b.mesh(skinned(b, joints, [FIRST] * 3))
    b.json["nodes"].append({})
    if edit is not None:
        b.json["skins"][0] = edit
    with pytest.raises(MeshFileError, match=message):
        read(b)


def test_files_without_scenes_or_nodes(read: Read) -> None:
    b = Builder()
    b.mesh(b.triangle())
    b.json["nodes"] = [{"mesh": 0}, {"children": [0], "translation": [0, 0, 1]}]
    del b.json["scenes"]
    assert np.array_equal(read(b).vertices, POINTS[:3] + np.array([0, 0, 1]))
    del b.json["nodes"]
    assert np.array_equal(read(b).vertices, POINTS[:3])


def test_primitives_that_share_positions_share_vertices(read: Read) -> None:
    b = Builder()
    attributes = {"POSITION": b.accessor(POINTS), "TEXCOORD_0": b.accessor(POINTS[:, :2])}
    plain = {"POSITION": attributes["POSITION"]}
    b.mesh(
        {"attributes": attributes, "indices": b.accessor([0, 1, 2], "u1"), "material": 0},
        {"attributes": plain, "indices": b.accessor([0, 2, 3], "u1"), "material": 1},
    )
    mesh = read(b)
    assert len(mesh.vertices) == 4
    assert [group.material for group in mesh.groups] == ["skin", "material_1"]
    assert mesh.uvs is not None
    assert mesh.uv_indices is not None
    assert np.array_equal(mesh.uvs, np.stack([POINTS[:, 0], 1 - POINTS[:, 1]], axis=1))
    assert mesh.uv_indices.tolist() == [0, 1, 2, -1, -1, -1]


def test_sparse_strided_and_quantised_accessors(read: Read) -> None:
    b = Builder()
    sparse = {
        "count": 2,
        "indices": {"bufferView": b.view(struct.pack("<2H", 1, 2)), "componentType": 5123},
        "values": {"bufferView": b.view(POINTS[1:3].tobytes())},
    }
    b.json["accessors"].append({"componentType": 5126, "count": 3, "type": "VEC3", "sparse": sparse})
    b.mesh({"attributes": {"POSITION": 0}})
    assert np.array_equal(read(b).vertices, POINTS[:3])

    b = Builder()
    rows = np.zeros((4, 5), np.float32)
    rows[:, 1:4] = POINTS
    view = b.view(rows.tobytes(), byteStride=20)
    b.json["accessors"].append(
        {"bufferView": view, "byteOffset": 4, "componentType": 5126, "count": 4, "type": "VEC3"}
    )
    b.mesh({"attributes": {"POSITION": 0}, "indices": b.accessor([0, 2, 3], "u1")})
    assert np.array_equal(read(b).vertices, POINTS)

    b = Builder()
    b.mesh({"attributes": {"POSITION": b.accessor(POINTS[:3] * 127 - 128, "i1", normalized=True)}})
    assert np.array_equal(read(b).vertices, np.maximum((POINTS[:3] * 127 - 128) / 127, -1).astype(np.float32))
    b = Builder()
    b.mesh({"attributes": {"POSITION": b.accessor(POINTS[:3] * 1000, "u2")}})
    assert np.array_equal(read(b).vertices, POINTS[:3] * 1000)


def test_rich_files_give_the_same_head(read: Read) -> None:
    b = Builder()
    rich: Json = b.triangle()
    rich["attributes"] |= {"NORMAL": b.accessor(POINTS[:3]), "JOINTS_0": b.accessor(np.zeros((3, 4)), "u1")}
    rich["targets"] = [{"POSITION": b.accessor(POINTS[:3])}]
    rich["material"] = 0
    b.mesh(rich)
    b.json |= {
        "images": [{"uri": "missing.png"}],
        "textures": [{"source": 0}],
        "animations": [{"channels": [], "samplers": []}],
        "extensionsUsed": ["KHR_texture_basisu", "KHR_mesh_quantization"],
        "extensionsRequired": ["KHR_mesh_quantization"],
    }
    assert np.array_equal(read(b).vertices, POINTS[:3])


def test_buffers_beside_the_file_and_in_it(tmp_path: Path) -> None:
    b = Builder()
    b.mesh(b.triangle())
    (tmp_path / "part s").mkdir()
    (tmp_path / "part s" / "a.bin").write_bytes(b.data)
    path = tmp_path / "head.gltf"
    encoded = base64.b64encode(b.data).decode()
    for uri in ("part%20s/a.bin", f"data:application/octet-stream;base64,{encoded}"):
        path.write_text(b.gltf(uri))
        assert np.array_equal(read_mesh(path).vertices, POINTS[:3])


def test_nothing_is_read_from_outside_the_folder(tmp_path: Path) -> None:
    b = Builder()
    b.mesh(b.triangle())
    (tmp_path / "in").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b.data)
    (tmp_path / "in" / "link.bin").symlink_to(secret)
    path = tmp_path / "in" / "head.gltf"
    for uri in ("../secret.bin", "%2e%2e/secret.bin", str(secret), "link.bin", "a\0b"):
        path.write_text(b.gltf(uri))
        with pytest.raises(MeshFileError, match="outside the folder"):
            read_mesh(path)
    for uri, message in (
        ("none.bin", "none.bin does not exist"),
        ("http://a/b.bin", "exist"),
        (".", "is a folder"),
    ):
        path.write_text(b.gltf(uri))
        with pytest.raises(MeshFileError, match=message):
            read_mesh(path)
    path.write_text(b.gltf("data:;base64,!!!"))
    with pytest.raises(MeshFileError, match="data uri"):
        read_mesh(path)


PACKED: Json = {"buffer": 0, "byteLength": 36, "byteStride": 12, "count": 3, "mode": "LINES"}


def change(**changes: Any) -> Callable[[Json], None]:
    return lambda root: root.update(changes)


def change_in(kind: str, **changes: Any) -> Callable[[Json], None]:
    return lambda root: root[kind][0].update(changes)


def change_primitive(**changes: Any) -> Callable[[Json], None]:
    return lambda root: root["meshes"][0]["primitives"][0].update(changes)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change(asset={"version": "1.0"}), "version 1.0"),
        (change(asset=3), "version missing"),
        (change(nodes=[{"children": [1], "mesh": 0}, {"children": [0]}]), r"nodes\[0\] is reached twice"),
        (change(nodes=[{"children": [0]}]), "reached twice"),
        (change(scenes=[{"nodes": [0, 0]}]), "reached twice"),
        (change(scenes=[{"nodes": [7]}]), r"nodes\[7\] is referenced; the file has 1"),
        (change(scene=3), r"scenes\[3\] is referenced"),
        (change(scenes=[{"nodes": [-1]}]), "not a list of indices"),
        (change(nodes=5), "not an array"),
        (change(nodes=[5]), r"nodes\[0\] is not an object"),
        (change_in("nodes", mesh=4), r"meshes\[4\] is referenced"),
        (change_in("nodes", mesh="0"), "whole number"),
        (change_in("nodes", matrix=[1, 2]), "not 16 numbers"),
        (change_in("nodes", scale=[1, float("nan"), 1]), "not finite"),
        (change_in("nodes", scale=[1, 10**400, 1]), "not finite"),
        (change_in("nodes", translation="up"), "not 3 numbers"),
        (change_in("meshes", primitives={}), "not an array"),
        (change_in("meshes", primitives=[3]), "not an object"),
        (change_primitive(attributes={}), "POSITION"),
        (change_primitive(mode="4"), "mode"),
        (change_primitive(material=9), r"materials\[9\]"),
        (change_primitive(indices=0), "type 'VEC3'; expected 1"),
        (change_primitive(attributes={"POSITION": 0, "TEXCOORD_0": 0}), "expected 2"),
        (
            change_primitive(extensions={"KHR_draco_mesh_compression": {"bufferView": 0}}),
            "Draco; export it uncompr",
        ),
        (change_in("bufferViews", extensions={"EXT_meshopt_compression": 1}), "not an object"),
        (change_in("bufferViews", extensions={"EXT_meshopt_compression": {}}), "byteLength is None"),
        (change_in("bufferViews", extensions={"EXT_meshopt_compression": PACKED}), "mode 'LINES' is unknown"),
        (
            change_in("bufferViews", extensions={"EXT_meshopt_compression": {**PACKED, "byteLength": 99}}),
            "ends after 36 bytes",
        ),
        (
            change_in("bufferViews", extensions={"KHR_meshopt_compression": {**PACKED, "count": 1 << 50}}),
            "unpacks to .* too large",
        ),
        (change_in("bufferViews", buffer=1), r"buffers\[1\]"),
        (change_in("bufferViews", byteOffset=1 << 40), "truncated"),
        (change_in("bufferViews", byteLength=1 << 40), "truncated"),
        (change_in("bufferViews", byteOffset=-4), "whole number"),
        (change_in("bufferViews", byteStride=4), "stride of 4 bytes for elements of 12"),
        (change_in("accessors", byteOffset=1 << 50), "needs"),
        (change_in("accessors", count=4), "needs 48 bytes; the view has 36"),
        (change_in("accessors", count=1 << 31), "at most 10,000,000"),
        (change_in("accessors", count=1 << 60), "whole number"),
        (change_in("accessors", count=True), "whole number"),
        (change_in("accessors", count=0), "no vertices"),
        (change_in("accessors", componentType=5130), "componentType 5130"),
        (change_in("accessors", type="MAT9"), "MAT9"),
        (change_in("accessors", bufferView=3), r"bufferViews\[3\]"),
        (change_in("accessors", sparse={"count": 1}), r"sparse has componentType None"),
        (
            change_in("accessors", sparse={"count": 9, "indices": {"bufferView": 0, "componentType": 5125}}),
            "changes",
        ),
        (
            change_in("accessors", sparse={"count": 10, "indices": {"bufferView": 0, "componentType": 5125}}),
            "needs",
        ),
    ],
)
def test_inconsistent_documents_say_what(read: Read, edit: Callable[[Json], None], message: str) -> None:
    b = Builder()
    b.mesh(b.triangle())
    edit(b.json)
    with pytest.raises(MeshFileError, match=message):
        read(b)


def test_indices_beyond_their_own_primitive_are_refused(read: Read) -> None:
    b = Builder()  # with a second mesh behind it, vertex 5 of the head exists
    b.mesh({**b.triangle(), "indices": b.accessor([0, 1, 2, 0, 1, 5], "u2")})
    b.mesh(b.triangle())
    b.json["scenes"], b.json["nodes"] = [{"nodes": [0, 1]}], [{"mesh": 0}, {"mesh": 1}]
    with pytest.raises(MeshFileError, match="face 1 references vertex 5; it has 3 vertices"):
        read(b)


def test_memory_stays_bounded_when_small_files_promise_much(read: Read) -> None:
    b = Builder()
    b.json["accessors"].append({"componentType": 5126, "count": 1_500_000, "type": "VEC3"})
    b.mesh({"attributes": {"POSITION": 0}, "mode": 5})
    b.json["nodes"] = [{"mesh": 0}] * 1000
    b.json["scenes"] = [{"nodes": list(range(1000))}]
    with pytest.raises(MeshFileError, match="more than 10,000,000 vertices or triangles"):
        read(b)


def test_broken_containers_say_what(read: Read, tmp_path: Path) -> None:
    b = Builder()
    b.mesh(b.triangle())
    whole = b.glb()
    for end in (*range(4, 60), *range(60, len(whole), 7)):
        with pytest.raises(MeshFileError, match="truncated"):
            read(whole[:end])
    with pytest.raises(MeshFileError, match="GLB version 1"):
        read(whole[:4] + b"\1" + whole[5:])
    with pytest.raises(MeshFileError, match="a chunk promises"):
        read(whole[:12] + b"\xff\xff\xff\xff" + whole[16:])
    with pytest.raises(MeshFileError, match="no JSON chunk"):
        read(whole[:16] + b"NOSJ" + whole[20:])
    for text in ("[" * 100_000, "[]", "{", "\xff\xfe", '{"asset": {"version": ' + "9" * 5000 + "}}"):
        (tmp_path / "head.gltf").write_text(text)
        with pytest.raises(MeshFileError, match="JSON"):
            read_mesh(tmp_path / "head.gltf")
