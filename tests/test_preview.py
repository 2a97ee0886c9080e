from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raf_runtime.errors import OutputError
from raf_sdk._preview import contact_sheet, frame_head, render
from raf_sdk._raster import rasterize


def sphere(rings: int = 24, sectors: int = 48) -> tuple[Any, Any]:
    """An outward unit sphere, poles on Y."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings), np.arange(sectors) * 2 * np.pi / sectors, indexing="ij"
    )
    points = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    )
    index = np.arange(rings * sectors).reshape(rings, sectors)
    a, b = index[:-1], index[1:]
    c, d = np.roll(b, -1, axis=1), np.roll(a, -1, axis=1)
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return points.reshape(-1, 3), faces


def brute_force(points: Any, faces: Any, width: int, height: int) -> tuple[Any, Any]:
    """Nearest triangle and its depth at every pixel, one triangle at a time."""
    best = np.full((height, width), np.inf)
    face = np.full((height, width), -1)
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for index, corners in enumerate(points[faces]):
        system = np.vstack([corners[:, :2].T, np.ones(3)])
        if abs(np.linalg.det(system)) < 1e-12:
            continue
        weights = np.linalg.solve(system, np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).reshape(
            3, height, width
        )
        depth = np.tensordot(corners[:, 2], weights, axes=1)
        nearer = (weights.min(axis=0) >= 0) & (depth < best)
        best[nearer], face[nearer] = depth[nearer], index
    return face, best


def test_raster_agrees_with_brute_force():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(-6, 46, (90, 2)), rng.uniform(1, 9, (90, 1))], axis=1)
    faces = np.arange(90).reshape(-1, 3)
    expected, depth = brute_force(points, faces, 40, 32)
    seen = rasterize(points, faces, 40, 32)
    face = np.full(40 * 32, -1)
    face[seen.pixels] = seen.faces
    np.testing.assert_array_equal(face.reshape(32, 40), expected)
    found = np.einsum("nk,nk->n", seen.barycentrics, points[faces[seen.faces], 2])
    np.testing.assert_allclose(found, depth.reshape(-1)[seen.pixels], atol=1e-9)
    np.testing.assert_allclose(seen.barycentrics.sum(axis=1), 1)


def test_raster_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch):
    points, faces = sphere()
    points = 30 * points + [32, 32, 50]
    whole = rasterize(points, faces, 64, 64)
    monkeypatch.setattr("raf_sdk._raster._CHUNK_PIXELS", 50)
    parts = rasterize(points, faces, 64, 64)
    np.testing.assert_array_equal(whole.pixels, parts.pixels)
    np.testing.assert_array_equal(whole.faces, parts.faces)


def test_raster_has_no_cracks():
    points, faces = sphere()
    seen = rasterize(30 * points + [32, 32, 50], faces, 64, 64)
    y, x = np.divmod(seen.pixels, 64)
    filled = np.zeros((64, 64), bool)
    filled[y, x] = True
    rows, columns = np.mgrid[0:64, 0:64] + 0.5 - 32
    assert filled[np.hypot(rows, columns) < 29.5].all()
    assert not filled[np.hypot(rows, columns) > 30].any()


def test_raster_leaves_out_what_cannot_be_drawn():
    points = np.array(
        [[0, 0, 1], [9, 0, 1], [np.nan, 9, 1], [np.inf, 3, 1], [4, 0, 1], [50, 50, 1], [60, 50, 1]]
    )
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4], [5, 6, 5]])
    assert rasterize(points, faces, 10, 10).pixels.size == 0


def test_both_sides_are_lit_alike():
    points, faces = sphere()
    view = frame_head(points, faces)
    outside, inside = (render(points, side, view, (40, 48)) for side in (faces, faces[:, ::-1]))
    assert np.abs(outside.astype(int) - inside).max() <= 1


def test_seams_do_not_show():
    points, faces = sphere()
    split = points[faces.ravel()]
    view = frame_head(points, faces)
    seams = np.unique(split, axis=0, return_inverse=True)[1].reshape(-1)
    whole = render(points, faces, view, (40, 48))
    cut = render(split, np.arange(len(split)).reshape(-1, 3), view, (40, 48), seams)
    assert np.abs(whole.astype(int) - cut).max() <= 3  # the pole of the parametrisation is a seam as well


def test_rotation_brings_the_face_to_the_camera():
    points, faces = sphere()
    points = points * [0.7, 1, 0.8] + np.clip(points[:, 2:] - 0.8, 0, None) * [0, -0.3, 2.0]
    rotation = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Z up, -Y front
    straight = render(points, faces, frame_head(points, faces), (40, 48))
    turned = points @ rotation
    back = render(turned, faces, frame_head(turned, faces, rotation), (40, 48))
    np.testing.assert_array_equal(straight, back)


def test_shoulders_are_cropped():
    points, faces = sphere()
    head = points * [8, 12, 10]
    shoulders = points * [25, 8, 10] + [0, -22, 0]
    bust = np.concatenate([head, shoulders])
    view = frame_head(bust, np.concatenate([faces, faces + len(points)]))
    assert 24 < view.extent < 34
    assert abs(view.center[1]) < 5


def test_contact_sheet_has_a_tile_for_each_pose(tmp_path: Path):
    points, faces = sphere()
    deltas = np.zeros((4, len(points), 3), np.float32)
    deltas[2, :, 0] = 0.3
    target = tmp_path / "sheet.png"
    contact_sheet(points, faces, deltas, ["a", "b", "c", "d"], target, columns=2, tile=60)
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]
    with Image.open(target) as image:
        pixels = np.asarray(image)
    height = pixels.shape[0] // 3
    assert pixels.shape[1] == 120
    picture = slice(0, 72)
    tiles = [
        pixels[row * height :][picture, column * 60 : (column + 1) * 60]
        for row in range(3)
        for column in range(2)
    ]
    np.testing.assert_array_equal(tiles[0], tiles[1])  # a pose without motion is the neutral
    assert not np.array_equal(tiles[0], tiles[3])
    assert np.ptp(tiles[5], axis=(0, 1)).max() == 0  # the place after the last pose is empty
    assert np.ptp(pixels[72:height, :60]) > 50  # the label


@pytest.mark.parametrize("name", ["missing/sheet.png", "folder.png", "sheet.jpg"])
def test_a_sheet_that_cannot_be_written_is_reported(tmp_path: Path, name: str):
    (tmp_path / "folder.png").mkdir()
    points, faces = sphere(4, 5)
    with pytest.raises(OutputError, match=r"sheet|folder"):
        contact_sheet(points, faces, np.zeros((1, len(points), 3)), ["a"], tmp_path / name, tile=20)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.png"]
