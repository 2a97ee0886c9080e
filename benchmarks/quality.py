"""How far predicted rigs are from true ones, on identities that training never saw.

    python benchmarks/quality.py --data DATA_DIR --out DIR [--model ONNX] [--identities 100] [--true-frame]
    python benchmarks/quality.py --data DATA_DIR --out DIR --leave-out FAMILY
        [--model ONNX | --weights WEIGHTS | --train] [--classical] [--identities 10] [--true-frame]

Raw vertices go in and displacements come out of the whole ``Rigger``, on the original meshes. Error is
measured over the vertices that move more than 0.01 mm in the truth, in mm of a head that is 240 mm tall: MAE
is its mean, Q95 its 95th percentile (exact to 0.001 mm), pooled over vertices, shapes and heads. The eight
gaze shapes are left out. ``mouthClose`` is scored on top of ``jawOpen``: sum against sum. ICT's 45 shapes
without gaze are 43 here, because ARKit joins the two halves of browInnerUp and of cheekPuff: the joined are
scored.

"240 mm tall" is chin to crown (of rigs other than ICT, whose chin is not marked: as the distances of eyes and
mouth tell on ICT's mean head). The box that holds the whole mesh, neck and all, is given as well: it makes
every figure smaller.

With ``--leave-out`` the rigs are of a family that the model has not seen (see ``_leave_out.py``), beside rigs that
do not move and, with ``--classical``, those of registration and deformation transfer, which is given the true frame,
which part is skin and sixteen landmarks. It starts from ICT's mean head, or of ICT itself from MakeHuman's.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from _leave_out import (
    Training,
    exported,
    measure_left_out,
    measure_method,
    print_left_out,
    still,
    train_without,
)
from _measure import HELD_OUT, SCALINGS, SEED, Heads, Measured, measure
from _metrics import Score
from _plot import plot_shapes
from _report import about, table, write_json

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import RafError
from raf_training.data.retarget import Donor
from raf_training.data.sources import load_families, load_sources

# Published figures for ICT: MAE and Q95.
PUBLISHED = {"TopoRig (2026)": (0.400, 1.257), "NFR, by TopoRig": (1.928, 5.480)}


def print_tables(measured: list[Measured]) -> None:
    """Print the sources, then the shapes, in the stricter scaling."""
    rows: list[list[str]] = []
    for result in measured:
        for scaling in SCALINGS if result.source == "ict" else SCALINGS[:1]:
            score = result.score(scaling)
            values = (score.mae, score.q95, score.ratio, score.still_mae, score.still_q95)
            count = f"{result.heads} x {len(result.poses)}"
            rows.append([result.source, result.frame, scaling, count, *(f"{value:.3f}" for value in values)])
    rows += [
        [name, "", "published", "", f"{mae:.3f}", f"{q95:.3f}", "", "", ""]
        for name, (mae, q95) in PUBLISHED.items()
        if any(result.source == "ict" for result in measured)
    ]
    table(
        "mm on a head 240 mm tall; ratio: error / true motion",
        ["source", "frame", "240 mm are", "heads x shapes", "MAE", "Q95", "ratio", "still MAE", "still Q95"],
        rows,
    )
    print_frames(measured)
    by_pose = {result.source: result.by_pose() for result in measured if result.frame == "estimated"}
    header = ["shape", *(name.rpartition("/")[2] for name in by_pose)]
    print_shapes("MAE / Q95, mm, chin to crown 240 mm", header, by_pose, "{0.mae:.2f} / {0.q95:.2f}")
    print_shapes("error / true motion", header, by_pose, "{0.ratio:.3f}")


def print_frames(measured: list[Measured]) -> None:
    """Print how far the estimated frames are from the true ones; a unit is about 4 cm on an adult."""
    rows: list[list[str]] = []
    for result in measured:
        if result.frame == "estimated":
            errors = np.array(result.frame_errors) * (1, 1, 100)
            pairs = zip(np.median(errors, axis=0), errors.max(axis=0), strict=True)
            rows.append([result.source, *(f"{median:.3f} / {most:.3f}" for median, most in pairs)])
    table("estimated frame, median / maximum", ["source", "rotation, deg", "origin, units", "unit, %"], rows)


def print_shapes(title: str, header: list[str], by_pose: dict[str, dict[str, Score]], form: str) -> None:
    """Print a row per shape and a column per source."""
    names = [pose for pose in ARKIT_POSES if any(pose in scores for scores in by_pose.values())]
    rows = [[n, *(form.format(s[n]) if n in s else "" for s in by_pose.values())] for n in names]
    table(title, header, rows)


def leave_out(options: argparse.Namespace) -> None:
    """Measure one family by a model that has not seen it, and by what else there is."""
    family, identities, data = options.leave_out, options.identities or 10, options.data
    model, weights = options.model, options.weights
    if options.train:
        plan = Training(options.steps, options.samples, options.seed, options.device, options.processes)
        weights = train_without(family, data, options.out, plan)
    if weights:
        model = exported(weights, options.out)
    measured = measure_left_out(model, family, identities, data, options.true_frame) if model else []
    measured += measure_method(still, "zero motion", family, identities, data)
    if options.classical:
        source = "makehuman" if family == "ict" else "ict"
        donor = Donor.of(load_families(data, [source])[source])
        measured += measure_method(donor, "NRICP + deformation transfer", family, identities, data)
    figures = print_left_out(family, measured)
    write_json(
        options.out / f"left_out_{family}.json",
        {
            "about": about(model),
            "left_out": family,
            "identity_streams": [SEED, HELD_OUT],
            "family": figures,
            "results": [result.as_json() for result in measured],
        },
    )


def seen_families(options: argparse.Namespace) -> None:
    """Measure unseen identities of the families that the model knows."""
    rigger = raf_sdk.Rigger(options.model)
    model = options.model or Path(raf_sdk.__file__).parent / "data" / "model.onnx"
    heads = Heads.load(options.data)
    measured = [
        result
        for source in load_sources(options.data, options.sources).values()
        for result in measure(rigger, source, heads, options.identities or 100, options.true_frame)
    ]
    print_tables(measured)
    write_json(
        options.out / "quality.json",
        {
            "about": about(model),
            "identity_streams": [SEED, HELD_OUT],
            "published_ict": PUBLISHED,
            "results": [result.as_json() for result in measured],
        },
    )
    plot_shapes(
        options.out / "quality.png",
        {result.source: result.by_pose() for result in measured if result.frame == "estimated"},
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure predicted rigs against true ones.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the report and what belongs to it"
    )
    parser.add_argument("--model", type=Path, help="an ONNX model (default: the one that is shipped)")
    parser.add_argument("--identities", type=int, help="per rig (default: 100; of a left-out family 10)")
    parser.add_argument("--sources", nargs="+", metavar="NAME", help="such as ict makehuman (default: all)")
    parser.add_argument("--true-frame", action="store_true", help="also as if the canonical frame were known")
    left = parser.add_argument_group("a family that the model has not seen")
    left.add_argument("--leave-out", metavar="FAMILY", help="ict, makehuman, vitruvian, ...")
    left.add_argument("--classical", action="store_true", help="also registration and deformation transfer")
    left.add_argument("--weights", type=Path, help="measure weights of raf-train instead of --model")
    left.add_argument("--train", action="store_true", help="train without the family first, in --out")
    left.add_argument("--steps", type=int, default=18_000, help="of --train (18000)")
    left.add_argument("--samples", type=int, default=1500, help="of --train (1500)")
    left.add_argument("--seed", type=int, default=0, help="of --train (0)")
    left.add_argument("--device", default="cpu", help="of --train (cpu)")
    left.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of --train (all cores)")
    options = parser.parse_args()
    if sum(map(bool, (options.model, options.weights, options.train))) > 1:
        parser.error("--model, --weights and --train exclude each other")
    try:
        (leave_out if options.leave_out else seen_families)(options)
    except RafError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
