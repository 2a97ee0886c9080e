"""Contact sheets of predicted rigs: held-out heads of each family, game heads that no rig exists of, animals.

    python benchmarks/sheets.py --data DATA_DIR --out DIR [--model ONNX]

A row per head, a column per expression. Identities are those of ``quality.py``, which training never saw; the
animals are the three that training saw, unwarped.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _measure import Heads
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import raf_sdk
from raf_sdk._preview import frame_head, render
from raf_training.data.archives import read_archive
from raf_training.data.sources import load_sources

HUMANS = ("ict", "makehuman", "makehuman/female_generic", "vitruvian")
HEADS = 4  # of each human rig
GAME_HEADS = 10
COLUMNS = {
    "neutral": (),
    "jawOpen": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "mouthSmileLeft": ("mouthSmileLeft",),
    "mouthFunnel": ("mouthFunnel",),
    "mouthPucker": ("mouthPucker",),
    "frown": ("mouthFrownLeft", "mouthFrownRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "eyeBlinkLeft": ("eyeBlinkLeft",),
    "browInnerUp": ("browInnerUp",),
    "browDown": ("browDownLeft", "browDownRight"),
    "gaze left": ("eyeLookOutLeft", "eyeLookInRight"),
}
TILE = (110, 140)
LABEL = 16

Triangles = tuple[NDArray[np.float32], NDArray[np.int32]]


def game_heads(data: Path) -> Iterator[Triangles]:
    """Rocketbox heads, spread evenly over the library."""
    archive = read_archive(data / "rocketbox_neutral.npz")
    vertices = np.split(archive["vertices"], archive["vertex_offsets"][1:-1])
    faces = np.split(archive["faces"], archive["face_offsets"][1:-1])
    for index in np.linspace(3, len(vertices) - 4, GAME_HEADS).round().astype(int):
        yield vertices[index], faces[index]


def sheets(data: Path) -> Iterator[tuple[str, list[Triangles]]]:
    """Name of each sheet, and its heads, upright and facing +Z."""
    heads = Heads.load(data)
    for name in HUMANS:
        source = load_sources(data, [name])[name]
        drawn = [(vertices, source.faces) for vertices, _ in heads.draw(source, HEADS)]
        yield name.replace("/", "_"), drawn
    yield "game_heads", list(game_heads(data))
    animals = load_sources(data, ["animals/koala", "animals/tiger", "animals/turtle"]).values()
    yield "animals", [(animal.neutral, animal.faces) for animal in animals]


def draw(rigs: list[raf_sdk.Rig]) -> Image.Image:
    """Draw a sheet; the heads stand as they are in the file, so that a wrong frame shows."""
    sheet = Image.new("RGB", (TILE[0] * len(COLUMNS), LABEL + TILE[1] * len(rigs)), (230, 231, 233))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for column, name in enumerate(COLUMNS):
        pen.text(((column + 0.5) * TILE[0], LABEL / 2), name, fill=(40, 40, 44), font=font, anchor="mm")
    for row, rig in enumerate(rigs):
        view = frame_head(rig.vertices, rig.faces)
        for column, poses in enumerate(COLUMNS.values()):
            posed = rig.evaluate(dict.fromkeys(poses, 1.0))
            tile = Image.fromarray(render(posed, rig.faces, view, TILE))
            sheet.paste(tile, (column * TILE[0], LABEL + row * TILE[1]))
    return sheet


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Draw contact sheets of predicted rigs.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--model", type=Path, help="an ONNX model (default: the one that is shipped)")
    options = parser.parse_args()

    rigger = raf_sdk.Rigger(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, heads in tqdm(sheets(options.data), unit="sheet"):
        rigs = [rigger.rig(head) for head in heads]
        draw(rigs).quantize(64).save(options.out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
