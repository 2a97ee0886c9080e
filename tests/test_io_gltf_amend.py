"""Rigs of glTF files come back in the file that they are of: nothing is lost but what the shapes replace."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from raf_runtime.errors import OutputError
from raf_sdk import Rig
from raf_sdk.io import read_mesh
from raf_sdk.io._gltf_document import GltfDocument

if TYPE_CHECKING:
    from tests.gltf_builder import POINTS, Builder, Json, validator_issues
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from gltf_builder import POINTS, Builder, Json, validator_issues

NAMES = ("jawOpen", "eyeBlinkLeft", "tongueOut")
PNG = b"\x89PNG\r\n\x1a\n" + b"what is in it does not matter"
TURN = [0.0, 0.0, 0.6, 0.8]


def character() -> Builder:
    """A skinned face of two primitives that share positions, two eyes of one mesh, a hat; each has a material."""
    b = Builder()
    joints, weights = b.accessor([[0, 1, 0, 0]] * 4, "u1"), b.accessor([[0.25, 0.75, 0, 0]] * 4)
    face = {"POSITION": b.accessor(POINTS), "JOINTS_0": joints, "WEIGHTS_0": weights}
    face["TEXCOORD_0"] = b.accessor(POINTS[:, :2])
    halves = [
        {"attributes": face, "indices": b.accessor(i, "u2"), "material": 0} for i in ([0, 1, 2], [0, 2, 3])
    ]
    b.mesh(*halves, {"mode": 0, "attributes": {"POSITION": b.accessor(POINTS[:2])}})
    b.mesh(b.triangle())
    b.mesh(b.triangle() | {"material": 1})
    b.json["materials"][0] |= {
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}},
        "alphaMode": "BLEND",
    }
    b.json |= {"textures": [{"source": 0}], "images": [{"uri": "skin%20.png", "name": "skin"}]}
    b.json["nodes"] = [
        {"name": "face", "mesh": 0, "skin": 0},
        {"name": "left", "mesh": 1, "translation": [3, 0, 0], "rotation": TURN, "scale": [2, 3, 4]},
        {"name": "right", "mesh": 1, "scale": [-1, 1, 1]},
        {"name": "hat", "mesh": 2, "extras": {"felt": True}},
        {"name": "root", "children": [5]},
        {"name": "neck", "rotation": TURN, "scale": [0.01, 0.01, 0.01]},
    ]
    b.json["scenes"] = [{"nodes": [0, 1, 2, 3, 4], "name": "stage"}]
    b.json["skins"] = [{"joints": [4, 5], "skeleton": 4}]
    b.json["extensionsUsed"], b.json["extensions"] = ["VENDOR_thing"], {"VENDOR_thing": {"kept": [1, 2]}}
    return b


def with_targets(b: Builder) -> Builder:
    """Two targets, the second of which has the name of a shape, and an animation of their weights."""
    for primitive in b.json["meshes"][0]["primitives"]:
        count = b.json["accessors"][primitive["attributes"]["POSITION"]]["count"]
        moved, turned = b.accessor(np.ones((count, 3))), b.accessor(np.zeros((count, 3)))
        primitive["targets"] = [{"POSITION": moved, "NORMAL": turned}, {"POSITION": moved}]
    b.json["meshes"][0] |= {"extras": {"targetNames": ["laugh", "eyeBlink_L"]}, "weights": [0.5, 1.0]}
    b.json["nodes"][0]["weights"] = [0.25, 0.75]
    sampler = {"input": b.accessor([0.0, 1.0]), "output": b.accessor([0.0, 0.1, 0.2, 0.3])}
    channels = [{"sampler": 0, "target": {"node": 0, "path": "weights"}}]
    channels.append({"sampler": 0, "target": {"node": 3, "path": "weights"}})
    b.json["animations"] = [{"name": "talk", "samplers": [sampler], "channels": channels}]
    return b


def rig_of(path: Path, *, still: range = range(0)) -> Rig:
    mesh = read_mesh(path)
    deltas = np.random.default_rng(0).normal(size=(len(NAMES), len(mesh.vertices), 3)).astype(np.float32)
    deltas[:, list(still)] = 0
    deltas[0, :3] = 0
    return Rig(mesh, NAMES, deltas)


def saved(
    tmp_path: Path, b: Builder, change: Callable[[Rig], Rig] = lambda rig: rig, name: str = "rig.glb"
) -> Rig:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "skin .png").write_bytes(PNG)
    (tmp_path / "in" / "head.glb").write_bytes(b.glb())
    rig = change(rig_of(tmp_path / "in" / "head.glb", still=HAT))
    rig.save(tmp_path / "out" / name)
    return rig


HAT = range(10, 13)


def opened(path: Path) -> GltfDocument:
    return GltfDocument(path.read_bytes(), path)


def without(root: Json, *keys: str) -> Json:
    return {key: value for key, value in root.items() if key not in keys}


@pytest.mark.parametrize("name", ["rig.glb", "rig.gltf"])
def test_the_file_comes_back_with_shapes(tmp_path: Path, name: str) -> None:
    b = character()
    rig = saved(tmp_path, b, name=name)
    out = tmp_path / "out" / name
    back = Rig.load(out)
    assert np.array_equal(back.vertices, rig.vertices)
    assert np.array_equal(back.faces, rig.faces)
    assert back.names == NAMES
    np.testing.assert_allclose(back.deltas, rig.deltas, atol=1e-5)
    document = opened(out)
    assert without(
        document.root, "accessors", "bufferViews", "buffers", "meshes", "nodes", "images"
    ) == without(
        json.loads(json.dumps(b.json)), "accessors", "bufferViews", "buffers", "meshes", "nodes", "images"
    )
    before, after = b.json["nodes"], document.root["nodes"]
    assert [without(node, "mesh") for node in after] == [without(node, "mesh") for node in before]
    # The eyes share a mesh, and move each in its own way; the hat stays, and gets no shapes.
    assert [node.get("mesh") for node in after] == [0, 3, 1, 2, None, None]
    assert document.root["meshes"][2] == b.json["meshes"][2]
    for mesh in (document.root["meshes"][i] for i in (0, 1, 3)):
        assert mesh["extras"] == {"targetNames": list(NAMES)}
        assert mesh["weights"] == [0, 0, 0]
        assert all(len(primitive["targets"]) == 3 for primitive in mesh["primitives"])
    for old, new in zip(b.json["meshes"], document.root["meshes"], strict=False):
        assert [without(p, "targets") for p in new["primitives"]] == old["primitives"]
    for index in range(len(b.json["accessors"])):
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}[b.json["accessors"][index]["type"]]
        original = opened(tmp_path / "in" / "head.glb").accessor(index, width)
        assert np.array_equal(document.accessor(index, width), original)
    (image,) = document.root["images"]
    view = document.item("bufferViews", image["bufferView"])
    start = view["byteOffset"]
    assert document.buffer(0)[start : start + view["byteLength"]] == PNG
    assert without(image, "bufferView") == {"name": "skin", "mimeType": "image/png"}


def test_targets_keep_their_numbers(tmp_path: Path) -> None:
    rig = saved(tmp_path, with_targets(character()))
    document = opened(tmp_path / "out" / "rig.glb")
    face = document.root["meshes"][0]
    assert face["extras"]["targetNames"] == ["laugh", "eyeBlink_L", "jawOpen", "tongueOut"]
    assert face["weights"] == [0.5, 0, 0, 0]
    assert document.root["nodes"][0]["weights"] == [0.25, 0, 0, 0]
    for primitive in face["primitives"]:
        targets = primitive["targets"]
        assert (document.accessor(targets[0]["POSITION"], 3) == 1).all()
        # Beside targets that bend normals, others have to say that they do not.
        assert [set(target) for target in targets] == [{"POSITION", "NORMAL"}] * 4
        assert not any(document.accessor(target["NORMAL"], 3).any() for target in targets)
    back = Rig.load(tmp_path / "out" / "rig.glb")
    assert set(back.names) == {"eyeBlink_L", "jawOpen", "tongueOut"}  # as the file spells them, on all meshes
    rows = [back.names.index(name) for name in ("jawOpen", "eyeBlink_L", "tongueOut")]
    np.testing.assert_allclose(back.deltas[rows], rig.deltas, atol=1e-5)
    (talk,) = document.root["animations"]
    first, second = (talk["samplers"][channel["sampler"]] for channel in talk["channels"])
    assert document.accessor(first["output"], 1).tolist() == [
        [v] for v in map(np.float32, [0, 0.1, 0, 0, 0.2, 0.3, 0, 0])
    ]
    assert second["output"] == with_targets(character()).json["animations"][0]["samplers"][0]["output"]


@pytest.mark.parametrize("owner", ["primitive", "accessor"])
def test_names_stay_that_only_primitives_or_accessors_have(tmp_path: Path, owner: str) -> None:
    b = with_targets(character())
    names = b.json["meshes"][0].pop("extras")["targetNames"]
    for primitive in b.json["meshes"][0]["primitives"]:
        if owner == "primitive":
            primitive["extras"] = {"targetNames": names}
        else:
            primitive["targets"][1]["POSITION"] = b.accessor(np.ones((4, 3)))
            for name, target in zip(names, primitive["targets"], strict=True):
                b.json["accessors"][target["POSITION"]]["name"] = name
    saved(tmp_path, b)
    face = opened(tmp_path / "out" / "rig.glb").root["meshes"][0]
    assert face["extras"]["targetNames"] == ["laugh", "eyeBlink_L", "jawOpen", "tongueOut"]


def test_a_primitive_without_vertices_is_named(tmp_path: Path) -> None:
    b = Builder()
    empty = {"attributes": {"POSITION": b.accessor(np.empty((0, 3)))}}
    b.mesh(empty, b.triangle())
    (tmp_path / "head.glb").write_bytes(b.glb())
    rig = rig_of(tmp_path / "head.glb")
    with pytest.raises(OutputError, match="a primitive has 0 vertices"):
        rig.save(tmp_path / "rig.glb")


def test_shapes_are_written_once_more_over_those_of_before(tmp_path: Path) -> None:
    rig = saved(tmp_path, character())
    out = tmp_path / "out" / "rig.glb"
    again = Rig(read_mesh(out), NAMES[:2], 2 * rig.deltas[:2])
    again.save(tmp_path / "out" / "again.glb")
    back = Rig.load(tmp_path / "out" / "again.glb")
    assert back.names == NAMES
    np.testing.assert_allclose(back.deltas, rig.deltas * np.array([2, 2, 1])[:, None, None], atol=2e-5)


def test_only_a_vrm_becomes_one(tmp_path: Path) -> None:
    b = character()
    rig = saved(tmp_path, b)
    with pytest.raises(OutputError, match="would be no VRM"):
        rig.save(tmp_path / "rig.vrm")
    b.json["extensions"]["VRM"] = {}
    (tmp_path / "in" / "avatar.vrm").write_bytes(b.glb())
    rig_of(tmp_path / "in" / "avatar.vrm").save(tmp_path / "rig.vrm")
    assert len(Rig.load(tmp_path / "rig.vrm").names) == 3


def test_avatars_get_expressions_of_the_shapes(tmp_path: Path) -> None:
    b = with_targets(character())
    smile, tongue = {"morphTargetBinds": [{"node": 0, "index": 0, "weight": 1}]}, {"isBinary": True}
    b.json["extensions"]["VRMC_vrm"] = {
        "expressions": {"preset": {"happy": smile}, "custom": {"tongueout": tongue}}
    }
    group = {"name": "Joy", "presetName": "joy", "binds": [{"mesh": 0, "index": 0, "weight": 100}]}
    b.json["extensions"]["VRM"] = {"blendShapeMaster": {"blendShapeGroups": [group]}}
    saved(tmp_path, b)
    document = opened(tmp_path / "out" / "rig.glb")
    nodes, meshes = document.root["nodes"], document.root["meshes"]
    expressions = document.root["extensions"]["VRMC_vrm"]["expressions"]
    assert expressions["preset"] == {"happy": smile}
    assert list(expressions["custom"]) == ["tongueout", "JawOpen", "EyeBlinkLeft"]
    assert expressions["custom"]["tongueout"] == tongue  # the author's own stay
    groups = document.root["extensions"]["VRM"]["blendShapeMaster"]["blendShapeGroups"]
    assert groups[0] == group
    assert [group["name"] for group in groups[1:]] == ["JawOpen", "EyeBlinkLeft", "TongueOut"]
    blink = expressions["custom"]["EyeBlinkLeft"]["morphTargetBinds"]
    assert [bind["node"] for bind in blink] == [0, 1, 2]
    for bind, old in zip(blink, groups[2]["binds"], strict=True):
        assert bind["weight"] == 1
        assert old == {"mesh": nodes[bind["node"]]["mesh"], "index": bind["index"], "weight": 100}
        names = meshes[old["mesh"]]["extras"]["targetNames"]
        assert names[bind["index"]] == "eyeBlink_L"
    b.json["extensions"]["VRM"] = {"blendShapeMaster": {"blendShapeGroups": {}}}
    (tmp_path / "in" / "odd.glb").write_bytes(b.glb())
    with pytest.raises(OutputError, match="blendShapeGroups of the VRM avatar is dict, not list"):
        rig_of(tmp_path / "in" / "odd.glb").save(tmp_path / "odd.glb")


def test_a_rig_that_moves_nothing_changes_nothing(tmp_path: Path) -> None:
    b = character()
    saved(tmp_path, b, lambda rig: Rig(rig.mesh, NAMES, np.zeros_like(rig.deltas)))
    root = opened(tmp_path / "out" / "rig.glb").root
    assert root["meshes"] == b.json["meshes"]


def test_buffers_of_many_files_become_one(tmp_path: Path) -> None:
    b = character()
    half = b.json["bufferViews"][3]["byteOffset"]
    folder = tmp_path / "in"
    folder.mkdir()
    for view in b.json["bufferViews"]:
        if view["byteOffset"] >= half:
            view |= {"buffer": 1, "byteOffset": view["byteOffset"] - half}
    (folder / "a.bin").write_bytes(b.data[:half] + b"and what nobody asks for")
    (folder / "b.bin").write_bytes(b.data[half:])
    sizes = (half, len(b.data) - half)
    buffers = [{"uri": f"{n}.bin", "byteLength": size} for n, size in zip("ab", sizes, strict=True)]
    (folder / "head.gltf").write_text(json.dumps(b.json | {"buffers": buffers}))
    rig = rig_of(folder / "head.gltf")
    rig.save(tmp_path / "rig.glb")
    document = opened(tmp_path / "rig.glb")
    assert [set(buffer) for buffer in document.root["buffers"]] == [{"byteLength"}]
    np.testing.assert_allclose(Rig.load(tmp_path / "rig.glb").deltas, rig.deltas, atol=1e-5)
    assert document.root["images"] == b.json["images"]  # there is no such file


def test_a_file_that_has_changed_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def changed(rig: Rig) -> Rig:
        assert rig.mesh.source is not None
        other = Builder()
        other.mesh(other.triangle())
        rig.mesh.source.write_bytes(other.glb())
        return rig

    with caplog.at_level(logging.WARNING):
        rig = saved(tmp_path, character(), changed)
    assert "not what was read any more" in caplog.text
    back = Rig.load(tmp_path / "out" / "rig.glb")
    assert np.array_equal(back.vertices[: len(rig.vertices)], rig.vertices)


def drop_buffer(root: Json) -> None:
    root["buffers"].append({"byteLength": 4, "uri": "gone.bin"})
    root["bufferViews"].append({"buffer": 1, "byteLength": 4})


def lose_view(root: Json) -> None:
    root["bufferViews"].append({"buffer": 7, "byteLength": 4})


def short_weights(root: Json) -> None:
    root["animations"][0]["samplers"][0]["output"] = root["animations"][0]["samplers"][0]["input"]
    root["accessors"][root["animations"][0]["samplers"][0]["input"]]["count"] = 1


def no_sampler(root: Json) -> None:
    root["animations"][0]["channels"][0]["sampler"] = 9


def no_channels(root: Json) -> None:
    del root["animations"][0]["channels"]


def no_targets(root: Json) -> None:
    root["meshes"][0]["primitives"][2]["targets"] = [3]


def odd_weights(root: Json) -> None:
    root["meshes"][0]["weights"] = 3


def endless_points(root: Json) -> None:
    points = root["meshes"][0]["primitives"][2]["attributes"]["POSITION"]
    root["accessors"][points]["count"] = 1 << 40


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_buffer, "gone.bin does not exist"),
        (lose_view, r"buffers\[7\] is referenced"),
        (short_weights, "1 weights of 2 morph targets"),
        (no_sampler, r"has no samplers\[9\]"),
        (no_channels, "has no channels"),
        (no_targets, r"primitives\[2\].targets\[0\] is not an object"),
        (odd_weights, "weights of meshes"),
        (endless_points, "a primitive has 1,099,511,627,776 vertices"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path: Path, edit: Callable[[Any], None], message: str) -> None:
    b = with_targets(character())
    b.json["buffers"] = [{"byteLength": len(b.data), "uri": "head.bin"}]
    edit(b.json)
    (tmp_path / "head.bin").write_bytes(b.data)
    (tmp_path / "head.gltf").write_text(json.dumps(b.json))
    rig = rig_of(tmp_path / "head.gltf")
    with pytest.raises(OutputError, match=message):
        rig.save(tmp_path / "rig.glb")
    assert not (tmp_path / "rig.glb").exists()
    rig.save(tmp_path / "rig.npz")


def test_a_flat_node_is_written_as_far_as_it_can_move(tmp_path: Path) -> None:
    b = Builder()
    b.mesh(b.triangle())
    b.json["nodes"] = [{"mesh": 0, "scale": [1, 1, 0]}]
    (tmp_path / "head.glb").write_bytes(b.glb())
    rig = rig_of(tmp_path / "head.glb")
    rig.save(tmp_path / "rig.glb")
    flat = rig.deltas * np.array([1, 1, 0], np.float32)
    np.testing.assert_allclose(Rig.load(tmp_path / "rig.glb").deltas, flat, atol=1e-5)


def test_a_node_too_small_for_numbers_is_named(tmp_path: Path) -> None:
    b = Builder()
    b.mesh(b.triangle(), b.triangle())
    b.mesh(b.triangle())
    b.json["nodes"] = [{"mesh": 0, "scale": [1e-30] * 3}, {"mesh": 1}]
    b.json["scenes"] = [{"nodes": [0, 1]}]
    (tmp_path / "head.glb").write_bytes(b.glb())
    rig = rig_of(tmp_path / "head.glb")
    with pytest.raises(OutputError, match=r"nodes\[0\] has a scale that is too small"):
        Rig(rig.mesh, rig.names, 1e10 * rig.deltas).save(tmp_path / "rig.glb")


def test_gltf_validator_finds_nothing(tmp_path: Path) -> None:
    saved(tmp_path, with_targets(character()))
    codes = [
        {issue["code"] for issue in validator_issues(tmp_path / file)["messages"]}
        for file in ("in/head.glb", "out/rig.glb")
    ]
    assert codes[1] <= codes[0] | {"UNUSED_OBJECT"}, codes
