"""Error per shape and source, drawn over the true motion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from _metrics import Score
from matplotlib.figure import Figure

__all__ = ["plot_shapes"]


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
