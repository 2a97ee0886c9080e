"""Upstream trees become the archives that the loaders read; a damaged tree becomes nothing but a named error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.archives import read_archive
from raf_training.data.cli import main
from raf_training.data.importers import ict, makehuman
from raf_training.data.sources import load_families

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
SAMPLES = DATA / "upstream-samples"

VERTICES = np.array([[0, 6, 0], [1, 6, 0], [1, 7, 0], [0, 7, 0], [0, 5, 0], [1, 5, 0]], float)
POINTS = 6


def obj(vertices: NDArray[np.float64], faces: str) -> str:
    return "".join(f"v {x} {y} {z}\n" for x, y, z in vertices) + faces


@pytest.fixture
def facekit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole ICT-FaceKit of six vertices in two parts."""
    monkeypatch.setattr(ict, "_PARTS", {"face": 4, "teeth": 2})
    monkeypatch.setattr(ict, "_VERTICES", POINTS)
    folder = tmp_path / "ICT-FaceKit" / "FaceXModel"
    folder.mkdir(parents=True)
    names = sorted(
        {pose for pose in ARKIT_POSES if pose != "tongueOut"} - {"browInnerUp"} | {"browInnerUp_L"}
    )
    indices = {"expressions": names, "idx_to_landmark_verts": [i % POINTS for i in range(68)]}
    (folder / "vertex_indices.json").write_text(json.dumps(indices))
    faces = "vt 0 0\nvt 1 1\nf 1/1 2/2 3/1 4/2\nf 1/1 2/1 5/2\nf 2/2 5/1 6/1\n"
    (folder / "generic_neutral_mesh.obj").write_text(obj(VERTICES, faces))
    for number, name in enumerate([*names, *ict._UNLISTED, *(f"identity{i:03d}" for i in range(100))]):
        moved = VERTICES + np.array([0, 0, 0.25 * number])
        (folder / f"{name}.obj").write_text(obj(moved, faces))
    return folder


def run(*arguments: object) -> int:
    return main(["import", *map(str, arguments)])


def test_a_facekit_becomes_an_archive(facekit: Path, tmp_path: Path) -> None:
    out = tmp_path / "ict_facekit.npz"
    assert run("ict", facekit.parent, "-o", out) == 0
    found = read_archive(out, ict_layout())
    np.testing.assert_array_equal(found["vertices"], VERTICES)
    np.testing.assert_array_equal(found["faces"], [[0, 1, 2, 3], [0, 1, 4, -1], [1, 4, 5, -1]])
    np.testing.assert_array_equal(found["faces_uv"], [[0, 1, 0, 1], [0, 0, 1, -1], [1, 0, 0, -1]])
    np.testing.assert_array_equal(found["vertex_part"], [0, 0, 0, 0, 1, 1])
    names = found["expression_names"].tolist()
    assert names == sorted(names) and {"cheekRaiser_L", "browInnerUp_L"} < set(names)
    assert len(found["identity_deltas"]) == 100
    step = np.diff(found["identity_deltas"].astype(float), axis=0)
    np.testing.assert_array_equal(step, np.broadcast_to([0, 0, 0.25], step.shape))
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [out.name]


def ict_layout() -> dict[str, tuple[str | int, ...]]:
    return {
        "vertices": ("V", 3),
        "expression_names": ("P",),
        "expression_deltas": ("P", "V", 3),
        "identity_deltas": ("M", "V", 3),
        "landmarks_68": (68,),
    }


ICT_DEFECTS: dict[str, tuple[str, str]] = {
    "a wrong vertex count": ("jawOpen.obj", "jawOpen.obj has 7 vertices, the neutral 6: not one topology"),
    "NaN": ("jawOpen.obj", "jawOpen.obj: vertex 5 is "),
    "too far": ("jawOpen.obj", "jawOpen.obj moves a vertex by more than 65504"),
    "a missing pose": ("jawOpen.obj", "lacks jawOpen.obj (1 of 55 files)"),
    "a missing identity": ("identity042.obj", "lacks identity042.obj (1 of 100 files)"),
    "a truncated file": ("identity042.obj", "identity042.obj is empty"),
    "a lying list": ("vertex_indices.json", "is not the name of an expression"),
    "no list": ("vertex_indices.json", "vertex_indices.json cannot be read"),
    "no JSON": ("vertex_indices.json", "does not list expressions and landmarks"),
    "landmarks": ("vertex_indices.json", "idx_to_landmark_verts are not 68 vertices of 6"),
    "another head": ("generic_neutral_mesh.obj", "generic_neutral_mesh.obj has 7 vertices"),
    "no head": ("generic_neutral_mesh.obj", "there is no generic_neutral_mesh.obj in it"),
}


@pytest.mark.parametrize("defect", ICT_DEFECTS)
def test_a_damaged_facekit_is_refused(
    facekit: Path, tmp_path: Path, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, message = ICT_DEFECTS[defect]
    path = facekit / name
    text = path.read_text()
    if defect in ("a wrong vertex count", "another head"):
        path.write_text("v 0 0 0\n" + text)
    elif defect == "NaN":
        path.write_text(text.replace("v 1.0 5.0", "v nan 5.0"))
    elif defect == "too far":
        path.write_text(text.replace("v 1.0 5.0", "v 1e6 5.0"))
    elif defect == "a truncated file":
        path.write_text("")
    elif defect == "a lying list":
        path.write_text(text.replace("jawOpen", "../jawOpen"))
    elif defect == "landmarks":
        path.write_text(text.replace("[0, 1", "[0, 9"))
    elif defect == "no JSON":
        path.write_text(text[:40])
    else:
        path.unlink()
    out = tmp_path / "out"
    out.mkdir()
    assert run("ict", facekit.parent, "-o", out / "a.npz") == 2
    assert message in capsys.readouterr().err
    assert not list(out.iterdir())


@pytest.fixture
def human(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole MakeHuman whose head is a square, a helper quad each, and which has a body of two more quads."""
    groups = ["body", *makehuman._HELPERS, "helper-hair"]
    monkeypatch.setattr(makehuman, "_VERTICES", POINTS + 4 * (len(groups) - 1))
    data = tmp_path / "makehuman" / "data"
    (data / "3dobjs").mkdir(parents=True)
    lines, vertices = ["g body", "f 1/1 2/1 3/1 4/1", "f 1/1 5/1 6/1 2/1"], [VERTICES]
    for i, group in enumerate(groups[1:]):
        first = POINTS + 4 * i + 1
        lines += [f"g {group}", "f " + " ".join(f"{first + k}/1" for k in range(4))]
        vertices.append(VERTICES[:4] + np.array([0, 0, i + 1]))
    (data / "3dobjs" / "base.obj").write_text(
        obj(np.concatenate(vertices), "vt 0 0\n" + "\n".join(lines) + "\n")
    )
    for number, folder in enumerate(makehuman._FOLDERS):
        (data / "targets" / folder).mkdir(parents=True)
        (data / "targets" / folder / f"{folder}-up.target").write_text(f"# up\n3 0 {number} 0\n")
        (data / "targets" / folder / f"{folder}-foot.target").write_text("4 0 .5 0\n")
    (data / "units").mkdir()
    for number, pose in enumerate(ARKIT_POSES):
        (data / "units" / f"{pose}.target").write_text(f"0 0 0 {number}\n6 0 -.5 0\n")
    folder = data / "proxymeshes" / "low"
    folder.mkdir(parents=True)
    (folder / "low.obj").write_text(obj(VERTICES[:5], "f 1 2 3\nf 1 3 4\nf 3 4 5\n"))
    (folder / "low.proxy").write_text(
        "name low\nz_scale 1 2 3\nverts 0\n0\n 1\n0 2 3 0.5 0.25 0.25 0 0 0\n3\n4 0 1 .5 .2 .3 0 0 0\n\nweights\n"
    )
    return data


def test_a_makehuman_becomes_two_archives(human: Path, tmp_path: Path) -> None:
    heads, proxies = tmp_path / "makehuman_heads.npz", tmp_path / "makehuman_proxies.npz"
    assert run("makehuman", human, "-o", heads, "--proxies", proxies) == 0
    found = read_archive(heads)
    # The body above the neck and the helpers, without hair.
    assert len(found["vertices"]) == 4 + 4 * len(makehuman._HELPERS)
    assert len(found["faces"]) == 1 + len(makehuman._HELPERS) and found["faces"].max() + 1 == len(
        found["vertices"]
    )
    np.testing.assert_array_equal(found["face_part"], range(10))
    # `head-up` moves by 0, and feet are no part of a head.
    names = [f"{folder}/{folder}-up" for folder in makehuman._FOLDERS[1:]]
    assert found["identity_names"].tolist() == names
    assert found["identity_deltas"][:, 3, 1].tolist() == list(range(1, 12))
    assert np.count_nonzero(found["identity_deltas"]) == 11
    assert found["expression_names"].tolist() == list(ARKIT_POSES)
    np.testing.assert_array_equal(found["expression_deltas"][:, 0, 2], range(52))
    np.testing.assert_array_equal(
        found["expression_deltas"][:, 4, 1], -0.5
    )  # vertex 6 upstream is the fifth here
    low = read_archive(proxies)
    assert low["names"].tolist() == ["low"]
    np.testing.assert_array_equal(low["low_bind"], [[0, 0, 0], [1, 1, 1], [0, 2, 3], [3, 3, 3]])
    np.testing.assert_array_equal(low["low_weights"], [[1, 0, 0], [1, 0, 0], [0.5, 0.25, 0.25], [1, 0, 0]])
    np.testing.assert_array_equal(low["low_faces"], [[0, 1, 2, -1], [0, 2, 3, -1]])


MAKEHUMAN_DEFECTS = {
    "a vertex of another mesh": (
        "units/jawOpen.target",
        "46 0 0 1",
        "does not move one of the 46 vertices of hm08",
    ),
    "half a vertex": ("units/jawOpen.target", "1.5 0 0 1", "'1.5 0 0 1' does not move"),
    "NaN": ("units/jawOpen.target", "1 0 nan 1", "'1 0 nan 1' does not move"),
    "words": ("units/jawOpen.target", "1 0 0 far", "jawOpen.target is not a target"),
    "a column": ("units/jawOpen.target", "1 0 0", "jawOpen.target is not a target"),
    "no text": ("units/jawOpen.target", b"\xff\xfe", "jawOpen.target cannot be read"),
    "a missing pose": ("units/tongueOut.target", None, "tongueOut.target is missing or empty"),
    "a missing folder": ("targets/nose", None, "nose is missing or empty"),
    "two packs": ("other/jawOpen.target", "1 0 0 1", "are both the ARKit face units"),
    "another base": ("3dobjs/base.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "base.obj has 3 vertices"),
    "a vertex less": ("proxymeshes/low/low.proxy", "verts 0\n0\n", "binds 1 vertices, its mesh has 5"),
    "no binding": ("proxymeshes/low/low.proxy", "verts 0\n0 1\n", "low.proxy is not a proxy"),
    "no proxies": ("proxymeshes", None, "there is no NAME.proxy"),
}


@pytest.mark.parametrize("defect", MAKEHUMAN_DEFECTS)
def test_a_damaged_makehuman_is_refused(
    human: Path, tmp_path: Path, defect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, content, message = MAKEHUMAN_DEFECTS[defect]
    path = human / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    out = tmp_path / "out"
    out.mkdir()
    assert run("makehuman", human, "-o", out / "a.npz", "--proxies", out / "b.npz") == 2
    assert message in capsys.readouterr().err
    assert not list(out.iterdir())


def assert_same(found: dict[str, NDArray[Any]], known: dict[str, NDArray[Any]], *names: str) -> None:
    for name in names:
        np.testing.assert_array_equal(found[name], known[name], err_msg=name)


def assert_near(
    found: dict[str, NDArray[Any]], known: dict[str, NDArray[Any]], rows: str, field: str
) -> None:
    """Equal to the rounding of float16 where both have a row of one name."""
    order = known[rows].tolist()
    assert len(found[rows])
    for row, name in enumerate(found[rows].tolist()):
        expected = known[field][order.index(name)].astype(np.float64)
        np.testing.assert_allclose(found[field][row], expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.shared_data
def test_the_facekit_samples_are_as_in_the_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ict_facekit.npz"
    assert run("ict", SAMPLES / "ict-facekit", "-o", out) == 2
    assert "(55 of 57 files); fetch the repository whole" in capsys.readouterr().err
    assert not out.exists()
    assert run("ict", SAMPLES / "ict-facekit", "--partial", "-o", out) == 0
    found, known = read_archive(out, ict_layout()), read_archive(DATA / "ict_facekit.npz")
    assert found.keys() == known.keys()
    assert_same(found, known, *("vertices", "faces", "uv", "faces_uv"))
    assert_same(found, known, *("vertex_part", "part_names", "landmarks_68"))
    assert found["expression_names"].tolist() == ["eyeBlink_L", "jawOpen"]
    assert_near(found, known, "expression_names", "expression_deltas")
    known["identity_names"] = np.arange(100)
    assert_near({**found, "identity_names": np.arange(2)}, known, "identity_names", "identity_deltas")


@pytest.mark.shared_data
def test_the_makehuman_samples_are_as_in_the_archive(tmp_path: Path) -> None:
    out = tmp_path / "makehuman_heads.npz"
    assert run("makehuman", SAMPLES / "makehuman", "--partial", "-o", out) == 0
    found, known = read_archive(out), read_archive(DATA / "makehuman_heads.npz")
    assert found.keys() == known.keys()
    assert_same(found, known, "vertices", "faces", "uv", "faces_uv", "face_part", "part_names")
    assert len(found["expression_names"]) == 4 and len(found["identity_names"]) == 5
    assert_near(found, known, "expression_names", "expression_deltas")
    assert_near(found, known, "identity_names", "identity_deltas")


@pytest.mark.shared_data
def test_a_partial_archive_does_not_train(tmp_path: Path) -> None:
    assert run("ict", SAMPLES / "ict-facekit", "--partial", "-o", tmp_path / "ict_facekit.npz") == 0
    with pytest.raises(Exception, match="the ict archive lacks 'browDown_L'"):
        load_families(tmp_path, ["ict"])
