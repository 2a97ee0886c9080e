"""How far predicted rigs are from rigs that somebody made: of your own characters, of families no model has seen.

    python benchmarks/rigs.py RIG... [--out JSON] [--model ONNX]

A rig is what ``raf_sdk.Rig.load`` reads: a GLB or glTF with morph targets of any tool, an NPZ, or a folder with
``neutral.obj`` and an OBJ for each shape. Its neutral is rigged, and the prediction is held against the shapes that
the rig has: gaze left out, ``mouthClose`` on top of ``jawOpen``, errors in mm of a head that is 240 mm from chin to
crown (as the distances of eyes and mouth tell on ICT's mean head, for the neutral may be a mask or have shoulders).

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
from raf_runtime.names import match_names
from raf_sdk._rigger import SHIPPED_MODEL

# Of ICT's mean head, in canonical units (see quality.py).
CHIN_TO_CROWN = 5.055


def arkit_shapes(rig: raf_sdk.Rig) -> NDArray[np.float32]:
    """Displacements (P, V, 3) of the ARKit shapes, however they are spelled; zero where the rig has none."""
    shapes = np.zeros((len(ARKIT_POSES), *rig.vertices.shape), np.float32)
    for name, rows in match_names(rig.names).items():
        shapes[ARKIT_POSES.index(name)] = rig.deltas[list(rows)].sum(axis=0)
    return shapes


def measure(rigger: raf_sdk.Rigger, truth: raf_sdk.Rig) -> tuple[Score, dict[str, Score]]:
    """Score of all shapes together and of each."""
    prepared = rigger.prepare(truth.mesh)
    goal = arkit_shapes(truth)
    scored = [i for i, shape in enumerate(goal) if shape.any() and ARKIT_POSES[i] not in GAZE]
    tally = Tally(len(ARKIT_POSES))
    millimetres = HEAD_HEIGHT / (CHIN_TO_CROWN * prepared.head.frame.unit)
    tally.add(on_open_jaw(arkit_shapes(rigger.rig(prepared))), on_open_jaw(goal), millimetres)
    return tally.score(scored), {ARKIT_POSES[i]: tally.score([i]) for i in scored}


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
    options = parser.parse_args()
    try:
        rigger = raf_sdk.Rigger(options.model)
        results = {str(path): measure(rigger, raf_sdk.Rig.load(path)) for path in options.rigs}
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
