"""Colours and textures of OBJ files in the GLB files that are written of them."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from raf_sdk import Rig
from raf_sdk.io import read_mesh
from raf_sdk.io._gltf_document import GltfDocument
from raf_sdk.io._obj_materials import Material, obj_materials

if TYPE_CHECKING:
    from tests.gltf_builder import validator_issues
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from gltf_builder import validator_issues

OBJ = """mtllib two words.mtl
mtllib lost.mtl
v 0 0 0
v 1 0 0
v 0 1 0
v 1 1 0
vt 0 0
vt 1 0
vt 0 1
usemtl skin
f 1/1 2/2 3/3
usemtl eye glass
f 3/3 2/2 4/1
usemtl unknown
f 1/1 3/3 4/2
"""
MTL = """# made by hand
newmtl skin
Kd 0.8 0.7 0.6
map_Kd -s 1 1 1 -bm 0.5 C:\\Users\\somebody\\skin map.tga
map_Ks shine.png
newmtl eye glass
\tKd 0.1 0.2 2
d 0.25
newmtl lash
Kd a b c
Tr 0.5
map_Kd sub/lash.png
map_d sub/lash.png
"""


def write(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "two words.mtl").write_text(MTL)
    path = folder / "head.obj"
    path.write_text(OBJ)
    colours = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(colours).save(folder / "skin map.tga")
    Image.fromarray(colours).save(folder / "sub" / "lash.png")
    return path


def saved(path: Path, out: Path) -> dict[str, Any]:
    mesh = read_mesh(path)
    Rig(mesh, ("jawOpen",), np.ones((1, 4, 3), np.float32)).save(out)
    return GltfDocument(out.read_bytes(), out).root


def test_materials_are_read(tmp_path: Path) -> None:
    found = obj_materials(write(tmp_path))
    assert found == {
        "skin": Material((0.8, 0.7, 0.6), 1.0, tmp_path / "skin map.tga"),
        "eye glass": Material((0.1, 0.2, 1.0), 0.25),
        "lash": Material(opacity=0.5, texture=tmp_path / "sub" / "lash.png", cut_out=True),
    }


@pytest.mark.parametrize("name", ["rig.glb", "rig.gltf"])
def test_colours_and_textures_are_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    out = tmp_path / name
    root = saved(write(tmp_path / "in"), out)
    looks = {entry.get("name"): entry for entry in root["materials"]}
    skin, eye = looks["skin"]["pbrMetallicRoughness"], looks["eye glass"]
    assert skin["baseColorTexture"] == {"index": 0}
    assert skin["baseColorFactor"] == [1, 1, 1, 1]
    assert eye["pbrMetallicRoughness"]["baseColorFactor"] == [0.1, 0.2, 1, 0.25]
    assert eye["alphaMode"] == "BLEND"
    assert "baseColorFactor" not in looks["unknown"]["pbrMetallicRoughness"]
    (image,) = root["images"]
    view = root["bufferViews"][image["bufferView"]]
    data = GltfDocument(out.read_bytes(), out).buffer(0)
    start = view["byteOffset"]
    with Image.open(io.BytesIO(data[start : start + view["byteLength"]])) as texture:
        assert texture.format == "PNG"  # glTF knows no TGA
        assert np.array_equal(np.asarray(texture).ravel(), np.arange(48))


def test_what_is_not_there_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path)
    (tmp_path / "skin map.tga").write_bytes(b"no image")
    (tmp_path / "two words.mtl").write_text(MTL + "newmtl unknown\nmap_Kd ../secret.png\nKd 0 0 0\n")
    with caplog.at_level(logging.WARNING):
        root = saved(path, tmp_path / "rig.glb")
    for said in (
        "lost.mtl, the materials of",
        "skin map.tga is left out",
        "../secret.png of material unknown",
    ):
        assert said in caplog.text
    assert "images" not in root
    looks = [entry["pbrMetallicRoughness"].get("baseColorFactor") for entry in root["materials"]]
    assert looks == [[0.8, 0.7, 0.6, 1], [0.1, 0.2, 1, 0.25], [0, 0, 0, 1]]


def test_nothing_is_read_from_outside_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in")
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    (tmp_path / "secret.mtl").write_text("newmtl skin\nKd 1 0 0\n")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "a\0b", "x" * 5000):
        (tmp_path / "in" / "two words.mtl").write_text(f"newmtl skin\nmap_Kd {name}\n")
        assert obj_materials(path) == {"skin": Material()}
    path.write_text("mtllib ../secret.mtl\n" + OBJ)
    (tmp_path / "in" / "two words.mtl").unlink()
    assert obj_materials(path) == {}


def test_an_obj_file_that_is_gone_leaves_names(tmp_path: Path) -> None:
    path = write(tmp_path)
    rig = Rig(read_mesh(path), ("jawOpen",), np.ones((1, 4, 3), np.float32))
    path.unlink()
    rig.save(tmp_path / "rig.glb")
    root = GltfDocument((tmp_path / "rig.glb").read_bytes(), tmp_path / "rig.glb").root
    assert [entry["name"] for entry in root["materials"]] == ["skin", "eye glass", "unknown"]
    assert "textures" not in root


def test_gltf_validator_finds_nothing(tmp_path: Path) -> None:
    saved(write(tmp_path), tmp_path / "rig.glb")
    issues = validator_issues(tmp_path / "rig.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
