"""How far predicted rigs are from true ones, on identities that training never saw.

    python benchmarks/quality.py --data DATA_DIR --out DIR [--model ONNX] [--identities 100] [--true-frame]

Raw vertices go in and displacements come out of the whole ``Rigger``, on the original meshes. Error is
measured over the vertices that move more than 0.01 mm in the truth, in mm of a head that is 240 mm tall: MAE
is its mean, Q95 its 95th percentile (exact to 0.001 mm), pooled over vertices, shapes and heads. The eight
gaze shapes are left out. ``mouthClose`` is scored on top of ``jawOpen``: sum against sum. ICT's 45 shapes
without gaze are 43 here, because ARKit joins the two halves of browInnerUp and of cheekPuff: the joined are
scored.

"240 mm tall" is chin to crown (of rigs other than ICT, whose chin is not marked: as the distances of eyes and
mouth tell on ICT's mean head). The box that holds the whole mesh, neck and all, is given as well: it makes
every figure smaller.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from _metrics import GAZE, HEAD_HEIGHT, Score, Tally, on_open_jaw
from _plot import plot_shapes
from _report import about, table, write_json
from numpy.typing import NDArray
from tqdm import tqdm

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.frame import Frame
from raf_runtime.head import PreparedHead
from raf_runtime.operators import Operators
from raf_runtime.rigid import round_parts
from raf_runtime.surface import Surface
from raf_sdk._rigger import Prepared
from raf_training.data.rig_source import RigSource, read_archive
from raf_training.data.sources import load_sources
from raf_training.frame_check import frame_error

Floats = NDArray[np.float32]

# Training draws identity i from (seed, 0 or 1, i): 2 is a stream that it never opens.
SEED, HELD_OUT = 20261122, 2
CHIN = 8  # of the 68 Multi-PIE landmarks
SCALINGS = ("chin to crown", "bounding box")
# Published figures for ICT: MAE and Q95.
PUBLISHED = {"TopoRig (2026)": (0.400, 1.257), "NFR, by TopoRig": (1.928, 5.480)}


@dataclass
class Measured:
    """One source under one kind of frame: a tally per scaling, and how far the frames were off."""

    source: str
    frame: str
    poses: tuple[int, ...]
    tallies: dict[str, Tally] = field(init=False)
    frame_errors: list[tuple[float, float, float]] = field(init=False)

    def __post_init__(self) -> None:
        """Start with no heads."""
        self.tallies = {scaling: Tally(len(ARKIT_POSES)) for scaling in SCALINGS}
        self.frame_errors = []

    def score(self, scaling: str = SCALINGS[0]) -> Score:
        """All poses together."""
        return self.tallies[scaling].score(self.poses)

    def by_pose(self, scaling: str = SCALINGS[0]) -> dict[str, Score]:
        """Each pose that moves anything, by itself (on a mesh without a tongue, tongueOut does not)."""
        scores = {ARKIT_POSES[pose]: self.tallies[scaling].score([pose]) for pose in self.poses}
        return {pose: score for pose, score in scores.items() if score.count}

    def as_json(self) -> dict[str, object]:
        """Everything, for the report."""
        degrees, origin, unit = np.transpose(self.frame_errors)
        return {
            "source": self.source,
            "frame": self.frame,
            "identities": len(self.frame_errors),
            "shapes": len(self.poses),
            "frame_error_median": {
                "degrees": float(np.median(degrees)),
                "origin_units": float(np.median(origin)),
                "unit_relative": float(np.median(unit)),
            },
            **{
                scaling: {
                    "all": asdict(self.score(scaling)),
                    "shapes": {pose: asdict(score) for pose, score in self.by_pose(scaling).items()},
                }
                for scaling in SCALINGS
            },
        }


@dataclass(frozen=True)
class Heads:
    """The identities to measure on, and how tall they are."""

    chin: int  # vertex of ICT
    chin_to_crown: float  # of ICT's mean head, in canonical units

    @classmethod
    def load(cls, data: Path) -> Heads:
        """Read the chin and proportions of ICT."""
        ict = load_sources(data, ["ict"])["ict"]
        chin = int(read_archive(data / "ict_facekit.npz")["landmarks_68"][CHIN])
        height = float(ict.neutral[:, 1].max() - ict.neutral[chin, 1])
        return cls(chin, height / Frame.from_anchors(ict.anchors(ict.neutral)).unit)

    def identity(self, source: RigSource, index: int) -> Floats:
        """Neutral vertices (V, 3) of a held-out identity; ICT's are not clipped as they are for training."""
        rng = np.random.default_rng([SEED, HELD_OUT, index])
        if source.name != "ict":
            return source.identity(rng)
        weights = rng.standard_normal(len(source.modes)).astype(np.float32)
        return source.neutral + np.tensordot(weights, source.modes, axes=1)

    def millimetres(self, source: RigSource, vertices: Floats) -> dict[str, float]:
        """Of the source's unit, once this head is 240 mm tall by each measure of height."""
        top, bottom = float(vertices[:, 1].max()), float(vertices[:, 1].min())
        if source.name == "ict":
            height = top - float(vertices[self.chin, 1])
        else:
            height = self.chin_to_crown * Frame.from_anchors(source.anchors(vertices)).unit
        return dict(zip(SCALINGS, (HEAD_HEIGHT / height, HEAD_HEIGHT / (top - bottom)), strict=True))


def in_frame(prepared: Prepared, frame: Frame) -> Prepared:
    """Prepare the same mesh again as if ``frame`` had been found."""
    mesh = prepared.mesh
    surface = Surface.build(mesh.vertices, mesh.faces)
    points = frame.to_canonical(surface.vertices)
    eigenpairs = len(prepared.head.operators.eigenvalues)
    operators = Operators.build(points, surface.faces, surface.component, eigenpairs)
    parts = round_parts(points, surface.component)
    return Prepared(mesh, PreparedHead(surface, frame, operators, None, parts))


def measure(
    rigger: raf_sdk.Rigger, source: RigSource, heads: Heads, identities: int, true_frame: bool
) -> list[Measured]:
    """Rig held-out identities of one source, with the estimated frame and, if wanted, the true one."""
    poses = tuple(i for i, pose in enumerate(ARKIT_POSES) if source.mask[i] and pose not in GAZE)
    results = [Measured(source.name, "estimated", poses)]
    if true_frame:
        results.append(Measured(source.name, "true", poses))
    truth = on_open_jaw(source.deltas)
    for index in tqdm(range(identities), desc=source.name, unit="head"):
        vertices = heads.identity(source, index)
        millimetres = heads.millimetres(source, vertices)
        goal = Frame.from_anchors(source.anchors(vertices))
        prepared = rigger.prepare((vertices, source.faces))
        for result in results:
            taken = prepared if result.frame == "estimated" else in_frame(prepared, goal)
            result.frame_errors.append(frame_error(taken.head.frame, goal))
            predicted = on_open_jaw(rigger.rig(taken).select(ARKIT_POSES).deltas)
            for scaling, tally in result.tallies.items():
                tally.add(predicted, truth, millimetres[scaling])
    return results


def print_tables(measured: list[Measured]) -> None:
    """Print the sources, then the shapes, in the stricter scaling."""
    rows: list[list[str]] = []
    for result in measured:
        for scaling in SCALINGS if result.source == "ict" else SCALINGS[:1]:
            score = result.score(scaling)
            values = (score.mae, score.q95, score.ratio, score.still_mae, score.still_q95)
            count = f"{len(result.frame_errors)} x {len(result.poses)}"
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


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Measure predicted rigs against true ones.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument("--out", type=Path, required=True, help="folder for quality.json and quality.png")
    parser.add_argument("--model", type=Path, help="an ONNX model (default: the one that is shipped)")
    parser.add_argument("--identities", type=int, default=100, help="per source (default: 100)")
    parser.add_argument("--sources", nargs="+", metavar="NAME", help="such as ict makehuman (default: all)")
    parser.add_argument("--true-frame", action="store_true", help="also as if the canonical frame were known")
    options = parser.parse_args()

    rigger = raf_sdk.Rigger(options.model)
    model = options.model or Path(raf_sdk.__file__).parent / "data" / "model.onnx"
    heads = Heads.load(options.data)
    measured = [
        result
        for source in load_sources(options.data, options.sources).values()
        for result in measure(rigger, source, heads, options.identities, options.true_frame)
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


if __name__ == "__main__":
    main()
