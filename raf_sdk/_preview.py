"""A contact sheet of a rig: the neutral head and every pose, shaded like clay and labelled."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from raf_runtime.errors import OutputError
from raf_runtime.threads import usable_cores
from raf_sdk._raster import rasterize
from raf_sdk.io._atomic import replacing

__all__ = ["View", "contact_sheet", "frame_head", "render"]

_SUPERSAMPLING = 2
_ASPECT = 1.2  # height of a picture over its width: heads are taller than wide
_HEAD_ASPECT = 1.4  # crown to chin over the width with ears; below that a bust is cropped
_MARGIN = 0.05
_CAMERA_DISTANCE = 5.0  # in head heights: a portrait lens

# Linear RGB. A warm key from the upper left, a cool fill from the right, light from the sky everywhere.
_CLAY = np.array([0.62, 0.47, 0.38])
_BACKGROUND = np.array([0.80, 0.81, 0.83])
_KEY_DIRECTION, _KEY = (-0.45, 0.55, 0.70), np.array([0.92, 0.86, 0.78])
_FILL_DIRECTION, _FILL = (0.85, 0.10, 0.45), np.array([0.20, 0.23, 0.28])
_SKY, _GROUND = np.array([0.30, 0.31, 0.33]), np.array([0.13, 0.11, 0.10])
_INK = (40, 40, 44)
_FLAW = (200, 16, 16)
_GLOSS, _GLOSS_EXPONENT = 0.10, 24
# Hollows: how far around a pixel they are looked for and how deep the dark ones are, in picture heights.
_CAVITY_RADIUS, _CAVITY_DEPTH, _CAVITY_SHADE = 0.02, 0.05, 0.75


@dataclass(frozen=True, slots=True)
class View:
    """A camera in front of a head.

    Attributes
    ----------
    rotation : (3, 3) float64
        Turns the mesh to Y up and +Z towards the camera.
    center : (3,) float64
        The point in the middle of the picture, after the rotation, unit of the mesh.
    extent : float
        What the height of the picture shows at that point, unit of the mesh.
    """

    rotation: NDArray[np.float64]
    center: NDArray[np.float64]
    extent: float


def frame_head(
    vertices: NDArray[np.floating], faces: NDArray[np.integer], rotation: NDArray[np.floating] | None = None
) -> View:
    """Frame the head of a mesh; the shoulders of a bust fall outside.

    Parameters
    ----------
    vertices : (V, 3) float
        Neutral vertices.
    faces : (T, 3) int
        Triangles; vertices that none of them uses do not count.
    rotation : (3, 3) float, optional
        Turns the mesh to Y up and +Z front; the mesh has that frame already when left out.

    Returns
    -------
    View
        A camera for `render`.
    """
    turn = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64)
    points = np.asarray(vertices, dtype=np.float64)[np.unique(faces)] @ turn.T
    points = points[np.argsort(-points[:, 1], kind="stable")]
    drop = points[0, 1] - points[:, 1]
    width = np.maximum.accumulate(points[:, 0]) - np.minimum.accumulate(points[:, 0])
    # Going down from the crown, the head ends where it is as long as a head of that width would be.
    # The first tenth is skipped: a flat crown is narrow before it is wide.
    chin = (drop >= _HEAD_ASPECT * width) & (drop >= 0.1 * drop[-1]) & (width > 0.25 * width[-1])
    head = points[: int(np.argmax(chin)) + 1] if chin.any() else points
    low, high = head.min(axis=0), head.max(axis=0)
    height, breadth = high[1] - low[1], high[0] - low[0]
    extent = (1 + 2 * _MARGIN) * max(height, breadth * _ASPECT)
    center = (low + high) / 2
    return View(turn, center, float(extent) if extent > 0 else 1.0)


def render(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    view: View,
    size: tuple[int, int],
    seams: NDArray[np.integer] | None = None,
) -> NDArray[np.uint8]:
    """Draw a mesh as smooth clay, both sides of its surface.

    Parameters
    ----------
    vertices : (V, 3) float
        Vertices, frame and unit of the mesh that `view` was made for.
    faces : (T, 3) int
        Triangles.
    view : View
        The camera.
    size : (int, int)
        Width and height of the picture in pixels.
    seams : (V,) int, optional
        Vertices with the same number are shaded as one, so that UV seams do not show.

    Returns
    -------
    (height, width, 3) uint8
        sRGB picture.
    """
    width, height = size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING
    turned = np.asarray(vertices, dtype=np.float64) @ view.rotation.T - view.center
    eye = _CAMERA_DISTANCE * view.extent
    with np.errstate(invalid="ignore", divide="ignore"):
        away = eye - turned[:, 2]
        zoom = np.where(away > 0, eye / away, np.nan) * (height / view.extent)
        points = np.stack([width / 2 + turned[:, 0] * zoom, height / 2 - turned[:, 1] * zoom, away], axis=1)
    seen = rasterize(points, faces, width, height)

    normals = _vertex_normals(turned, faces, seams)
    corners = faces[seen.faces]
    normal = np.einsum("nk,nkc->nc", seen.barycentrics, normals[corners])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-300
    normal *= np.where(normal[:, 2:] < 0, -1.0, 1.0)  # back faces are lit like front faces
    depth = np.einsum("nk,nk->n", seen.barycentrics, away[corners]) / view.extent

    picture = np.empty((height * width, 3))
    picture[:] = _BACKGROUND
    hollow = _hollows(seen.pixels, depth, width, height) * normal[:, 2]  # a slope is no hollow
    picture[seen.pixels] = _shade(normal) * (1 - _CAVITY_SHADE * hollow[:, None])
    blocks = picture.reshape(size[1], _SUPERSAMPLING, size[0], _SUPERSAMPLING, 3)
    return _to_srgb(blocks.mean(axis=(1, 3)))


def contact_sheet(
    vertices: NDArray[np.floating],
    faces: NDArray[np.integer],
    deltas: NDArray[np.floating],
    names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    rotation: NDArray[np.floating] | None = None,
    flaws: Mapping[str, str] | None = None,
    columns: int = 9,
    tile: int = 180,
) -> None:
    """Write a PNG with the neutral head and every pose at full weight.

    Parameters
    ----------
    vertices : (V, 3) float
        Neutral vertices.
    faces : (T, 3) int
        Triangles.
    deltas : (P, V, 3) float
        Displacements of the poses, frame and unit of `vertices`.
    names : sequence of P str
        Labels of the poses.
    path : path
        Where the PNG goes. It appears complete or not at all.
    rotation : (3, 3) float, optional
        Turns the mesh to Y up and +Z front; the mesh has that frame already when left out.
    flaws : mapping of str to str, optional
        Pose name -> what is wrong with it; such a tile has a red frame, and the words in it.
    columns : int
        Tiles in a row.
    tile : int
        Width of a tile in pixels.

    Raises
    ------
    OutputError
        The file cannot be written, or its name does not end in ``.png``.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise OutputError(f"cannot write a preview to {target}: it is a PNG picture; end the name in .png")
    size = (tile, round(tile * _ASPECT))
    label = max(12, tile // 9)
    font = ImageFont.load_default(size=max(8, round(0.6 * label)))
    count = len(names) + 1
    columns = min(columns, count)
    shape = (math.ceil(count / columns) * (size[1] + label), columns * tile, 3)
    sheet = Image.fromarray(np.broadcast_to(_to_srgb(_BACKGROUND), shape).copy())
    draw = ImageDraw.Draw(sheet)

    neutral = np.asarray(vertices, dtype=np.float64)
    view = frame_head(neutral, faces, rotation)
    seams = np.unique(neutral, axis=0, return_inverse=True)[1].reshape(-1)

    def picture(index: int) -> NDArray[np.uint8]:
        moved = neutral if index == 0 else neutral + deltas[index - 1]
        return render(moved, faces, view, size, seams)

    with ThreadPoolExecutor(usable_cores()) as pool:
        pictures = list(pool.map(picture, range(count)))
    for index, name in enumerate(["neutral", *names]):
        row, column = divmod(index, columns)
        corner = (column * tile, row * (size[1] + label))
        sheet.paste(Image.fromarray(pictures[index]), corner)
        middle = (corner[0] + tile / 2, corner[1] + size[1] + label / 2)
        flaw = (flaws or {}).get(name)
        draw.text(middle, name, fill=_FLAW if flaw else _INK, font=font, anchor="mm")
        if flaw:
            end = (corner[0] + tile - 1, corner[1] + size[1] + label - 1)
            draw.rectangle((corner, end), outline=_FLAW, width=2)
            words = "\n".join(textwrap.wrap(flaw, max(8, tile // 7)))
            draw.multiline_text((corner[0] + 5, corner[1] + 3), words, fill=_FLAW, font=font)
    _write_png(sheet, target)


def _vertex_normals(
    vertices: NDArray[np.float64], faces: NDArray[np.integer], seams: NDArray[np.integer] | None
) -> NDArray[np.float64]:
    """Area-weighted normals (V, 3), not normalised; those of a seam are summed."""
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    area = np.cross(second - first, third - first)
    shared = np.arange(len(vertices)) if seams is None else seams
    corners = shared[faces].T.reshape(-1)
    weights = np.tile(area.T, 3)
    sums = np.stack([np.bincount(corners, weights=axis, minlength=len(vertices)) for axis in weights], axis=1)
    sums /= np.linalg.norm(sums, axis=1, keepdims=True) + 1e-300
    return sums[shared]


def _shade(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear colour (N, 3) of clay with unit normals (N, 3) that face the camera at +Z."""
    key = np.array(_KEY_DIRECTION) / np.linalg.norm(_KEY_DIRECTION)
    fill = np.array(_FILL_DIRECTION) / np.linalg.norm(_FILL_DIRECTION)
    sky = 0.5 + 0.5 * normal[:, 1:2]
    light = _GROUND + (_SKY - _GROUND) * sky
    light = light + _KEY * (normal @ key).clip(0)[:, None] + _FILL * (normal @ fill).clip(0)[:, None]
    halfway = key + np.array([0.0, 0.0, 1.0])
    halfway /= np.linalg.norm(halfway)
    gloss = _GLOSS * (normal @ halfway).clip(0)[:, None] ** _GLOSS_EXPONENT
    return _CLAY * light + gloss


def _hollows(
    pixels: NDArray[np.int64], depth: NDArray[np.float64], width: int, height: int
) -> NDArray[np.float64]:
    """How much each pixel (N,) lies deeper than the surface around it, 0 to 1.

    Luft, Colditz, Deussen, "Image Enhancement by Unsharp Masking the Depth Buffer", 2006.
    """
    covered, total = np.zeros(height * width, np.float32), np.zeros(height * width, np.float32)
    covered[pixels] = 1
    total[pixels] = depth
    radius = _CAVITY_RADIUS * height
    around, weight = (
        gaussian_filter(image.reshape(height, width), radius, truncate=2.0).reshape(-1)[pixels]
        for image in (total, covered)
    )
    return ((depth - around / weight) / _CAVITY_DEPTH).clip(0, 1)


def _to_srgb(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Encode linear light in 8 bits (IEC 61966-2-1)."""
    light = linear.clip(0, 1)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)


def _write_png(image: Image.Image, path: Path) -> None:
    """Write the picture, whole or not at all."""
    try:
        with replacing(path) as file:
            image.save(file, format="PNG")
    except OSError as error:
        raise OutputError(
            f"cannot write the preview to {path}: {error.strerror or error}; "
            "choose an existing folder where you may write"
        ) from error
