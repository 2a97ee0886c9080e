from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_sdk._cli import main
from raf_sdk.io import read_mesh


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("example") / "head.obj"
    assert main(["example", "-o", str(path)]) == 0
    return str(path)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("raf: ")
    assert error.count("\n") == 1
    return error


def target_names(path: Path) -> list[str]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    (mesh,) = json.loads(data[20 : 20 + length])["meshes"]
    return mesh["extras"]["targetNames"]


def test_rig_writes_every_shape_and_a_contact_sheet(head: str, tmp_path: Path) -> None:
    glb, sheet = tmp_path / "head.glb", tmp_path / "sheet.png"
    assert main(["rig", head, "-o", str(glb), "--preview", str(sheet)]) == 0
    assert target_names(glb) == list(ARKIT_POSES)
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_rig_writes_the_shapes_that_are_asked_for_in_their_order(head: str, tmp_path: Path) -> None:
    some = tmp_path / "some.npz"
    assert main(["rig", head, "-o", str(some), "--shapes", "mouthPucker, jawOpen,mouthPucker"]) == 0
    with np.load(some) as arrays:
        assert arrays["names"].tolist() == ["mouthPucker", "jawOpen"]
        assert arrays["deltas"].shape == (2, len(read_mesh(head).vertices), 3)


def test_a_shape_that_does_not_exist_is_an_error_and_nothing_is_written(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rig", head, "-o", str(tmp_path / "head.glb"), "--shapes", "jawOpne"]) == 2
    assert "did you mean 'jawOpen'?" in error_line(capsys)
    assert main(["rig", head, "-o", str(tmp_path / "folder"), "--shapes", "jawOpne"]) == 2
    assert "did you mean 'jawOpen'?" in error_line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_heads(head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, faces = read_mesh(head).vertices, read_mesh(head).faces
    trimesh.Trimesh(points, faces, process=False).export(tmp_path / "another.ply")
    trimesh.Trimesh(points, faces, process=False).export(tmp_path / "damaged.glb")
    (tmp_path / "damaged.glb").write_bytes((tmp_path / "damaged.glb").read_bytes()[:1000])
    heads = [head, str(tmp_path / "damaged.glb"), str(tmp_path / "another.ply")]
    out, sheets = tmp_path / "new" / "rigs", tmp_path / "sheets"
    words = ["rig", *heads, "-o", str(out), "--preview", str(sheets), "--shapes", "jawOpen"]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "damaged.glb" in said.err
    assert said.out.count(" shapes of ") == 2
    assert sorted(path.name for path in out.iterdir()) == ["another.glb", "head.glb"]
    assert sorted(path.name for path in sheets.iterdir()) == ["another.png", "head.png"]
    assert target_names(out / "another.glb") == ["jawOpen"]


def test_heads_that_would_overwrite_each_other_are_refused(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rig", head, "other/head.ply", "-o", str(tmp_path / "rigs")]) == 2
    assert "would both become" in error_line(capsys)
    assert main(["rig", head, "other.ply", "-o", str(tmp_path / "rigs.glb")]) == 2
    assert "one of 2 heads" in error_line(capsys)
    (tmp_path / "taken").write_text("")
    assert main(["rig", head, "-o", str(tmp_path / "taken")]) == 2
    assert "cannot be made" in error_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("command", [["rig", "-o", "head.glb"], ["info"]])
def test_a_missing_file_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "nowhere.obj"]) == 2
    assert "nowhere.obj does not exist" in error_line(capsys)


def test_a_device_that_is_not_there_is_an_error(head: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", head, "-o", "head.glb", "--device", "abacus"]) == 2
    assert "abacus" in error_line(capsys)


@pytest.mark.parametrize(
    "arguments", [[], ["rig"], ["rig", "a.obj"], ["rig", "a.obj", "-o", "b.glb", "--shapes", ","], ["paint"]]
)
def test_wrong_arguments_leave_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: raf" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["rig", "--help"], ["example", "--help"], ["info", "--help"]]
)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "usage: raf" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"raf-sdk {raf_sdk.__version__}\n"


def test_the_example_is_the_head_that_is_shipped(head: str) -> None:
    shipped = Path(raf_sdk.__file__).with_name("data") / "example_head.obj"
    assert Path(head).read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize(
    ("output", "says"), [("head.glb", "suffix .obj"), ("missing/head.obj", "cannot be written")]
)
def test_the_example_says_why_it_cannot_be_written(
    output: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["example", "-o", str(tmp_path / output)]) == 2
    assert says in error_line(capsys)


def info(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["info", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    column = len(lines[0]) - len(lines[0].removeprefix("file").lstrip())
    return {line[:column].strip(): line[column:] for line in lines}


def test_info_describes_a_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A quad and, apart from it, a triangle that is there twice; the last vertex is used by nothing.
    path = tmp_path / "parts.obj"
    corners = [(0, 0, 0), (2, 0, 0), (2, 1, 0), (0, 1, 0), (5, 0, 0), (6, 0, 0), (5, 3, 0), (9, 9, 9)]
    path.write_text(
        "".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "o plate\nf 1 2 3 4\no chip\n" + "f 5 6 7\n" * 2
    )
    said = info(path, capsys)
    assert said["vertices"] == "8"
    assert said["polygons"] == "3 (2 triangles, 1 quad)"
    assert said["triangles"] == "4"
    assert said["bounding box"] == "9 x 9 x 9, from (0, 0, 0) to (9, 9, 9)"
    assert said["groups"] == "plate 1, chip 2"
    assert said["welded"] == "7 vertices, 3 triangles"
    assert said["components"] == "2"
    assert said["set aside"] == "1 collapsed or repeated triangle, 1 vertex without a triangle"


def test_info_says_that_a_mesh_cannot_be_rigged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "flat.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    assert info(path, capsys)["can be rigged"].startswith("no: the mesh has no area")


def test_info_says_that_the_example_can_be_rigged(head: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(Path(head), capsys)["can be rigged"] == "yes"


def test_info_describes_the_shipped_model(capsys: pytest.CaptureFixture[str]) -> None:
    said = info(Path(raf_sdk.__file__).with_name("data") / "model.onnx", capsys)
    assert said["poses"].startswith("52: browDownLeft")


def test_info_refuses_a_model_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(b"not a model")
    assert main(["info", str(path)]) == 2
    assert "other.onnx" in error_line(capsys)
