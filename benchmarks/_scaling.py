"""Time against the number of vertices: rigs of heads of every size, beside the reference and the paper's network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _heads import write_scan
from _paper import PaperNetwork
from _reference import measure_reference
from _report import table
from _stages import NETWORK, WHOLE, measure_warm
from numpy.typing import NDArray

from raf_runtime.head import prepare_head
from raf_sdk.io import read_mesh

__all__ = ["Point", "measure_scaling", "percentiles"]

# Sizes of a head for games to one that is not yet a scan; even on a logarithmic axis.
LEAST, MOST = 2_000, 100_000
# Larger heads would keep the reference busy for many minutes.
REFERENCE_MOST = 30_000


@dataclass(frozen=True, slots=True)
class Point:
    """One head: vertices, and seconds of each rig, of its network alone, and of whole rigs by other ways."""

    vertices: int
    rig: list[float]
    network: list[float]
    reference: float | None
    paper: float | None


def measure_scaling(
    base: Path, model: Path, heads: int, repeats: int, passes: int, folder: Path
) -> list[Point]:
    """Rig heads of rising size, made from one head (see :func:`_heads.write_scan`), and print a table.

    Parameters
    ----------
    base
        The head that the others are made from.
    model
        Ours.
    heads
        How many.
    repeats
        Rigs of each.
    passes
        Of the reference and of the paper's network, for each head that is not too large; 0: neither.
    folder
        For files.
    """
    paper = PaperNetwork(folder) if passes else None
    points: list[Point] = []
    for size in np.geomspace(LEAST, MOST, heads).round().astype(int).tolist():
        path = folder / f"head_{size}.ply"
        write_scan(read_mesh(base), 2 * size, path)
        times = measure_warm(model, path, repeats)
        reference = beside = None
        mesh = read_mesh(path)
        if paper is not None and len(mesh.vertices) <= REFERENCE_MOST:
            head = prepare_head(mesh.vertices, mesh.faces, 128)
            canonical: NDArray[np.float64] = head.frame.to_canonical(head.surface.vertices)
            reference = measure_reference(canonical, head.surface.faces, passes).total
            beside = paper.seconds(head.operators, passes)
        points.append(Point(len(mesh.vertices), times[WHOLE], times[NETWORK], reference, beside))
    rows = [
        [
            f"{point.vertices:,}",
            *_figures(point.rig),
            f"{np.median(point.network) / np.median(point.rig):.0%}",
        ]
        + [f"{other:.1f}" if other else "-" for other in (point.reference, point.paper)]
        for point in points
    ]
    every = [seconds for point in points for seconds in point.rig]
    rows.append(["all", *_figures(every), "", "", ""])
    header = ["vertices", "p50", "p95", "network", "reference", "paper in ONNX Runtime"]
    table(f"heads made from {base.name}; seconds", header, rows)
    return points


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile."""
    p50, p95 = np.quantile(seconds, [0.5, 0.95]).tolist()
    return p50, p95


def _figures(seconds: list[float]) -> list[str]:
    return [f"{value:.3f}" for value in percentiles(seconds)]
