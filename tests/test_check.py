"""Reports, what cannot be judged, the pictures and the command."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import trimesh
from PIL import Image

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.frame import Frame
from raf_runtime.names import match_names
from raf_runtime.surface import Surface, face_areas
from raf_sdk import Mesh, Report, Rig
from raf_sdk._cli import main
from raf_sdk._report import Bar, Check
from raf_sdk.check import arkit_name
from raf_sdk.check._head import Head
from raf_sdk.check._motion import still_parts
from raf_sdk.check._view import View, newly_seen
from raf_sdk.io import read_mesh

EXAMPLE = Path(raf_sdk.__file__).with_name("data") / "example_head.obj"


@cache
def simple_rig() -> Rig:
    """The example, all of its front moving a little: it fails much, and costs no network."""
    mesh = read_mesh(EXAMPLE)
    deltas = np.zeros((3, len(mesh.vertices), 3), np.float32)
    deltas[:, mesh.vertices[:, 2] > 0, 1] = np.ptp(mesh.vertices[:, 1]) / 100
    return Rig(mesh, ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"), deltas)


def answers(report: Report, check: str) -> list[Check]:
    return [answer for answer in report.checks if answer.name == check]


@pytest.mark.parametrize(
    ("bar", "inside", "outside", "words"),
    [
        (Bar("mm", high=2), [-9, 0, 2], [2.1, float("nan"), float("inf")], "at most 2 mm"),
        (Bar("mm", low=0.5), [0.5, 9], [0.4, float("nan")], "at least 0.5 mm"),
        (Bar("mm", 1, 3), [1, 2, 3], [0.9, 3.1], "1 to 3 mm"),
    ],
)
def test_bars(bar: Bar, inside: list[float], outside: list[float], words: str) -> None:
    assert all(bar.holds(figure) and bar.strain(figure) <= 1 for figure in inside)
    assert not any(bar.holds(figure) for figure in outside)
    assert not any(bar.strain(figure) <= 1 for figure in outside)
    assert str(bar) == words


def test_a_report_counts_says_and_serialises() -> None:
    bar = Bar("mm", high=2)
    good = Check.judged("closes", ["eyeBlinkLeft"], 1.0, bar, "as it should", "it does not")
    bad = Check.judged("closes", ["eyeBlinkRight"], np.inf, bar, "as it should", "it does not")
    none = Check.unasked("teeth", [], "there are none")
    assert Report((good, none)).passed
    report = Report((good, bad, none))
    assert not report.passed
    assert report.failures == (bad,)
    assert report.flaws == {"eyeBlinkRight": "closes"}
    content = json.loads(report.to_json())
    assert content["counts"] == {"pass": 1, "fail": 1, "not applicable": 1}
    assert [check["figure"] for check in content["checks"]] == [1.0, None, None]
    assert content["checks"][0]["bar"] == {"unit": "mm", "low": None, "high": 2}
    text = str(report)
    assert "FAIL eyeBlinkRight: inf (at most 2 mm); it does not" in text
    assert "not applicable: there are none" in text
    assert text.endswith("1 passed, 1 failed, 1 not applicable")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("jawOpen", "jawOpen"),
        ("JAWOPEN", "jawOpen"),
        ("jaw_open", "jawOpen"),
        ("eyeBlink_L", "eyeBlinkLeft"),
        ("eyeBlink.R", "eyeBlinkRight"),
        ("EyeBlinkLeft", "eyeBlinkLeft"),
        ("blendShape1.mouthSmile_R", "mouthSmileRight"),
        ("head:jawLeft", "jawLeft"),
        ("browInnerUp_L", "browInnerUp"),
        ("viseme_aa", None),
        ("", None),
        ("smile", None),
    ],
)
def test_names_of_other_tools(name: str, shape: str | None) -> None:
    assert arkit_name(name) == shape


def test_halves_add_up_and_repeats_do_not() -> None:
    found = match_names(["x", "browInnerUp_R", "jawOpen", "browInnerUp_L", "JawOpen"])
    assert found == {"browInnerUp": (1, 3), "jawOpen": (2,)}
    assert match_names(["browInnerUp_L", "browInnerUp", "browInnerUp_R"]) == {"browInnerUp": (1,)}


def test_missing_shapes_are_absent_not_wrong() -> None:
    report = simple_rig().select(["jawOpen"]).check()
    (absent,) = answers(report, "shapes there")
    assert absent.verdict == "not applicable"
    assert absent.shapes == tuple(pose for pose in ARKIT_POSES if pose != "jawOpen")
    assert {check.verdict for check in answers(report, "lips seal")} == {"not applicable"}
    assert {check.shapes for check in report.failures} == {("jawOpen",)}


def test_a_head_without_eyeballs_is_not_judged_by_them() -> None:
    rig = simple_rig()
    head = Head(rig)
    ball = np.zeros(len(head.points), bool)
    for eye in head.eyes.values():
        ball[eye.vertices] = True
    faces = rig.faces[~ball[head.surface.from_input][rig.faces].any(axis=1)]
    report = Rig(Mesh.from_triangles(rig.vertices, faces), rig.names, rig.deltas).check()
    for name in ("blink closes", "lids outside eyeball", "eyeballs rigid", "gaze turns"):
        assert {check.verdict for check in answers(report, name)} == {"not applicable"}
        assert all("eyeball" in check.reason or "no eye" in check.reason for check in answers(report, name))


def test_fused_lips_are_not_asked_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    # A ball with a nose has a front, and no slit in it. No network shall look for eyes on it.
    known = Frame(np.eye(3), np.array([0.0, 0.1, 0.95]), 0.35)
    monkeypatch.setattr("raf_sdk.check._frame.estimate_frame", lambda *_, **__: known)
    u, v = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, 40), np.linspace(0, 2 * np.pi, 60, False), indexing="ij"
    )
    points = np.stack([np.sin(u) * np.sin(v), 1.3 * np.cos(u), np.sin(u) * np.cos(v)], axis=-1).reshape(-1, 3)
    points[:, 2] += 0.25 * np.exp(-(points[:, 0] ** 2 + points[:, 1] ** 2) / 0.03) * (points[:, 2] > 0)
    index = np.arange(2400).reshape(40, 60)
    a, b = index[:-1], index[1:]
    quads = np.stack([a, b, np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)], axis=-1).reshape(-1, 4)
    deltas = np.zeros((1, len(points), 3), np.float32)
    deltas[0, :, 1] = -0.1
    (check,) = answers(Rig(Mesh.from_triangles(points, quads), ("jawOpen",), deltas).check(), "mouth opens")
    assert check.verdict == "not applicable"
    assert "slit" in check.reason


def test_a_report_does_not_depend_on_unit_or_axes() -> None:
    rig = simple_rig()
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32)
    mesh = Mesh(100 * rig.vertices @ turn + 7, rig.mesh.face_indices, rig.mesh.face_sizes)
    other = Rig(mesh, rig.names, 100 * rig.deltas @ turn).check()
    for first, second in zip(rig.check().checks, other.checks, strict=True):
        assert (first.name, first.shapes, first.verdict) == (second.name, second.shapes, second.verdict)
        assert first.figure == pytest.approx(second.figure, abs=0.02)


def test_failing_shapes_are_red_on_the_sheet(tmp_path: Path) -> None:
    rig = simple_rig().select(["jawOpen"])
    bar = Bar("mm", high=2)
    report = Report((Check.judged("opens", ["jawOpen"], 3.0, bar, "", "no"),))
    rig.preview(tmp_path / "plain.png")
    rig.preview(tmp_path / "marked.png", report)
    pictures: list[Any] = []
    for name in ("plain", "marked"):
        with Image.open(tmp_path / f"{name}.png") as image:
            pictures.append(np.asarray(image).astype(int))
    red = [(picture[..., 0] - picture[..., 1:].max(axis=2) > 120).sum(axis=0) for picture in pictures]
    assert red[0].sum() == 0
    assert red[1][:180].sum() == 0  # the neutral
    assert red[1][180:].sum() > 700  # a frame and words


def test_the_command_tells_by_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out, sheet = tmp_path / "rig.glb", tmp_path / "report.json", tmp_path / "sheet.png"
    simple_rig().save(path)
    assert main(["check", str(path), "--json", str(out), "--preview", str(sheet)]) == 1
    printed = capsys.readouterr().out
    assert "FAIL jawOpen" in printed
    content = json.loads(out.read_text())
    assert content["passed"] is False
    assert str(content["counts"]["fail"]) + " failed" in printed
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_the_command_leaves_with_0_where_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    simple_rig().save(tmp_path / "rig.npz")
    monkeypatch.setattr("raf_sdk.check.check_rig", lambda rig: Report(()))  # pyright: ignore[reportUnknownLambdaType]
    assert main(["check", str(tmp_path / "rig.npz")]) == 0
    assert capsys.readouterr().out.endswith("0 passed, 0 failed, 0 not applicable\n")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.glb", "does not exist"),
        ("head.ply", "rigs are read from"),
        ("empty", "holds no neutral.obj"),
    ],
)
def test_files_that_are_no_rigs_leave_with_2(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "head.ply").write_text("ply")
    (tmp_path / "empty").mkdir()
    assert main(["check", str(tmp_path / name)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("backed", [True, False])
def test_a_mouth_opens_onto_its_inside_or_onto_nothing(backed: bool) -> None:
    view = View(-1, -1, 1, 1, 40)
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    lips = np.concatenate([square * [1, 0.5, 1] + [0, 0.5, 0], square * [1, 0.5, 1] - [0, 0.5, 0]])
    points = np.concatenate([lips, square - [0, 0, 1]])
    quads = np.array([[0, 1, 2], [0, 2, 3]])
    faces = np.concatenate([quads + 4 * i for i in range(3 if backed else 2)])
    posed = points.copy()
    posed[4:8] -= [0, 0.5, 0]
    assert len(newly_seen(view, points, points, faces)) == 0
    assert view.area(len(newly_seen(view, points, posed, faces))) == pytest.approx(1.0, rel=0.15)


def test_a_helmet_larger_than_the_skin_makes_no_hat_of_it() -> None:
    skin = trimesh.creation.icosphere(4)
    skin.apply_scale((2.0, 2.9, 2.4))
    skin.apply_translation((0, 0, -1.5))
    helmet = trimesh.creation.icosphere(4, radius=4.5)
    helmet.update_faces(helmet.triangles_center[:, 1] > 1.5)
    both = trimesh.util.concatenate([skin, helmet])
    surface = Surface.build(both.vertices, both.faces)
    area = np.bincount(surface.faces.ravel(), np.repeat(face_areas(surface.vertices, surface.faces) / 3, 3))
    head = SimpleNamespace(
        points=surface.vertices, faces=surface.faces, component=surface.component, area=area
    )
    still = still_parts(cast("Head", head))
    skins = surface.component == surface.component[surface.from_input[0]]
    assert area[skins].sum() < area[~skins].sum()
    in_front = skins & (surface.vertices[:, 2] > 0) & (np.abs(surface.vertices[:, 1]) < 1)
    assert in_front.any() and not still[in_front].any()
    assert still[~skins].all()
