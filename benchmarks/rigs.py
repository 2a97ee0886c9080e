"""How far predicted rigs are from rigs that somebody made: of your own characters, of families no model has seen.

    python benchmarks/rigs.py RIG... [--out JSON] [--model ONNX] [--classical DATA_DIR]

A rig is what ``raf_sdk.Rig.load`` reads: a GLB or glTF with morph targets of any tool, an NPZ, or a folder with
``neutral.obj`` and an OBJ for each shape. Its neutral is rigged, and the prediction is held against the shapes that
the rig has: gaze left out, ``mouthClose`` on top of ``jawOpen``, errors in mm of a head that is 240 mm from chin to
crown (as the distances of eyes and mouth tell on ICT's mean head, for the neutral may be a mask or have shoulders).
Beside it, the shapes of each family by registration and deformation transfer, and their mean: these are given the
frame that the network was given, landmarks where ICT's mean face has them, and which pieces move.

Axis legend: V vertices, P = 52 poses.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _metrics import GAZE, HEAD_HEIGHT, Score, Tally, on_open_jaw
from _report import about, table, write_json
from numpy.typing import NDArray

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import RafError
from raf_runtime.frame import Frame
from raf_runtime.names import match_names
from raf_runtime.surface import Surface
from raf_sdk._rigger import SHIPPED_MODEL
from raf_training.data.consensus import DONORS, donors_of
from raf_training.data.retarget import Donor, Head
from raf_training.data.sources import load_families

# Of ICT's mean head, in canonical units (see quality.py).
CHIN_TO_CROWN = 5.055


def arkit_shapes(rig: raf_sdk.Rig) -> NDArray[np.float32]:
    """Displacements (P, V, 3) of the ARKit shapes, however they are spelled; zero where the rig has none."""
    shapes = np.zeros((len(ARKIT_POSES), *rig.vertices.shape), np.float32)
    for name, rows in match_names(rig.names).items():
        shapes[ARKIT_POSES.index(name)] = rig.deltas[list(rows)].sum(axis=0)
    return shapes


def transferred(
    surface: Surface, frame: Frame, moving: NDArray[np.bool_], donors: dict[str, Donor]
) -> dict[str, NDArray[np.float32]]:
    """Displacements (P, V, 3) of each family, and the mean of those that have a shape; other pieces stay."""
    pieces = np.unique(surface.component[surface.from_input[moving]])
    faces = surface.faces[np.isin(surface.component, pieces)[surface.faces[:, 0]]]
    used, faces = np.unique(faces, return_inverse=True)
    piece = surface.component[used]
    points = frame.to_canonical(surface.vertices[used])
    head = Head.stranger(points, faces.reshape(-1, 3), np.isin(piece, np.bincount(piece).argmax()))
    shapes = dict[str, NDArray[np.float32]]()
    for family, donor in donors.items():
        moved = np.zeros((len(ARKIT_POSES), len(surface.vertices), 3), np.float32)
        # A shape that a donor lacks comes back as rounding, not as zero.
        moved[:, used] = donor.known[:, None, None] * frame.vectors_to_input(donor.rig(head))
        shapes[family] = surface.to_input(moved)
    stack = np.stack(list(shapes.values()))
    count = np.maximum(stack.any(axis=(2, 3)).sum(axis=0), 1)
    return {**shapes, "mean of these": (stack.sum(axis=0) / count[:, None, None]).astype(np.float32)}


def measure(
    rigger: raf_sdk.Rigger, truth: raf_sdk.Rig, donors: dict[str, Donor]
) -> dict[str, tuple[Score, dict[str, Score]]]:
    """Score of all shapes together and of each, by each method."""
    prepared = rigger.prepare(truth.mesh)
    goal = arkit_shapes(truth)
    scored = [i for i, shape in enumerate(goal) if shape.any() and ARKIT_POSES[i] not in GAZE]
    millimetres = HEAD_HEIGHT / (CHIN_TO_CROWN * prepared.head.frame.unit)
    found = {"network": arkit_shapes(rigger.rig(prepared))}
    if donors:
        moving = np.asarray(goal.any(axis=(0, 2)), np.bool_)
        surface = Surface.build(truth.mesh.vertices, truth.mesh.faces)
        found |= transferred(surface, prepared.head.frame, moving, donors)
    scores = dict[str, tuple[Score, dict[str, Score]]]()
    for method, shapes in found.items():
        tally = Tally(len(ARKIT_POSES))
        tally.add(on_open_jaw(shapes), on_open_jaw(goal), millimetres)
        scores[method] = tally.score(scored), {ARKIT_POSES[i]: tally.score([i]) for i in scored}
    return scores


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure predicted rigs against rigs that somebody made.")
    parser.add_argument(
        "rigs", type=Path, nargs="+", metavar="RIG", help=".glb, .gltf, .npz or folder of OBJs"
    )
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument(
        "--model", type=Path, default=SHIPPED_MODEL, help="an ONNX model (default: the shipped one)"
    )
    parser.add_argument(
        "--classical",
        type=Path,
        metavar="DATA_DIR",
        help="also by deformation transfer from the archives there",
    )
    options = parser.parse_args()
    try:
        rigger = raf_sdk.Rigger(options.model)
        donors = donors_of(load_families(options.classical, DONORS)) if options.classical else {}
        results = {
            f"{path}: {method}": scores
            for path in options.rigs
            for method, scores in measure(rigger, raf_sdk.Rig.load(path), donors).items()
        }
    except RafError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")

    def row(name: str, score: Score) -> list[str]:
        figures = (score.mae, score.q95, score.still_mae, score.ratio, score.scaled_ratio, score.cosine)
        return [name, *(f"{figure:.3f}" for figure in figures)]

    header = ["", "MAE", "Q95", "still MAE", "ratio", "scaled", "cosine"]
    for path, (_, shapes) in results.items():
        table(path, header, [row(name, score) for name, score in shapes.items()])
    table("all shapes of each rig", header, [row(path, score) for path, (score, _) in results.items()])
    if options.out:
        figures = {
            path: {"all": asdict(score), "shapes": {name: asdict(s) for name, s in shapes.items()}}
            for path, (score, shapes) in results.items()
        }
        write_json(options.out, {"about": about(options.model), "rigs": figures})


if __name__ == "__main__":
    main()
