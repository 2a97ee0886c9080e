"""Plots: error per shape and source, drawn over the true motion; time against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from _metrics import Score
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from _scaling import Point

__all__ = ["plot_scaling", "plot_shapes"]


def plot_shapes(path: Path, scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Draw one row of bars per source.

    Parameters
    ----------
    path
        The PNG to write.
    scores
        Source -> pose -> score, mm.
    """
    poses = list(dict.fromkeys(pose for by_pose in scores.values() for pose in by_pose))
    place = np.arange(len(poses))
    # Not through pyplot, which would look for a display.
    figure = Figure(figsize=(14, 1.4 + 1.9 * len(scores)), layout="constrained")
    rows = figure.subplots(len(scores), 1, sharex=True, squeeze=False)
    for axes, (source, by_pose) in zip(rows[:, 0], scores.items(), strict=True):
        found = [by_pose.get(pose) for pose in poses]
        axes.bar(place, [s.still_mae if s else 0 for s in found], 0.85, color="0.85", label="not moving")
        axes.bar(place, [s.q95 if s else 0 for s in found], 0.45, color="#9ecae1", label="Q95")
        axes.bar(place, [s.mae if s else 0 for s in found], 0.45, color="#08519c", label="MAE")
        axes.set_title(source, loc="left", fontsize=9)
        axes.set_ylabel("mm")
        axes.margins(x=0.005)
    rows[0, 0].legend(ncols=3, fontsize=8, frameon=False)
    rows[-1, 0].set_xticks(place, poses, rotation=90, fontsize=8)
    figure.supylabel("error on a head 240 mm tall", fontsize=9)
    figure.savefig(path, dpi=120)


def plot_scaling(path: Path, points: Sequence[Point], machine: str) -> None:
    """Draw seconds of a rig against vertices, both logarithmic.

    Parameters
    ----------
    path
        The PNG to write.
    points
        By rising size.
    machine
        Named in the title.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    sizes = np.array([point.vertices for point in points])
    median = np.array([np.median(point.rig) for point in points])
    axes.fill_between(
        sizes,
        [min(point.rig) for point in points],
        [np.quantile(point.rig, 0.95) for point in points],
        color="#9ecae1",
        linewidth=0,
        label="least to p95",
    )
    axes.plot(sizes, median, "o-", color="#08519c", label="whole rig, median")
    axes.plot(
        sizes,
        [np.median(point.network) for point in points],
        "--",
        color="#08519c",
        label="its network alone",
    )
    axes.plot(sizes, median[-1] * sizes / sizes[-1], ":", color="0.5", label="proportional to size")
    others = {
        "reference pipeline": [p.reference for p in points],
        "paper's network": [p.paper for p in points],
    }
    for (label, seconds), colour in zip(others.items(), ("#a63603", "#fd8d3c"), strict=True):
        known = [(size, value) for size, value in zip(sizes, seconds, strict=True) if value is not None]
        if known:
            axes.plot(*zip(*known, strict=True), "s-", color=colour, label=label)
    axes.set(xscale="log", yscale="log", xlabel="vertices", ylabel="seconds for 52 shapes")
    axes.set_title(machine, loc="left", fontsize=9)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
