"""How far predicted rigs are from true ones, family by family, on samples as they are.

The measure is that of TopoRig (2026): Euclidean error over the vertices that move more than 0.01 mm in the truth, on a
head scaled to 240 mm. ``mouthClose`` is compared on top of ``jawOpen``.

Axis legend: V vertices, P poses.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from raf_training.dataset import SampleFolder
from raf_training.losses.displacement import on_open_jaw
from raf_training.network import RigNetwork
from raf_training.posing import predict_rig

__all__ = ["Figures", "evaluate"]

# Millimetres of a canonical unit on a head of 240 mm: what is measured on ICT's mean head.
UNIT: Final = 38.0
MOVING: Final = 0.01


@dataclass(frozen=True, slots=True)
class Figures:
    """Accuracy on one family.

    Attributes
    ----------
    heads : number of samples.
    mae, q95 : mean and 95th percentile of the error over moving vertices, mm.
    ratio : mean error over mean true motion; 1 is as good as not moving.
    cosine : between predicted and true displacement fields, mean over poses and heads.
    seconds : per rig of all poses, without operators.
    """

    heads: int
    mae: float
    q95: float
    ratio: float
    cosine: float
    seconds: float


def evaluate(network: RigNetwork, heads: SampleFolder, device: torch.device) -> dict[str, Figures]:
    """Measure a network on every sample of a folder; the last entry, ``all``, is the mean of the families."""
    errors: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    motions: defaultdict[str, float] = defaultdict(float)
    cosines: defaultdict[str, list[float]] = defaultdict(list)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    network = network.to(device).eval()
    for number in range(len(heads)):
        sample = heads[number].to(device)
        family = sample.source.partition("/")[0]
        start = time.perf_counter()
        shapes = predict_rig(network, sample.surface).float()
        seconds[family].append(time.perf_counter() - start)
        truth = UNIT * on_open_jaw(sample.deltas)[sample.mask]
        guess = UNIT * on_open_jaw(shapes)[sample.mask]
        motion = truth.norm(dim=-1)
        moving = motion > MOVING
        errors[family].append((guess - truth).norm(dim=-1)[moving].cpu().numpy())
        motions[family] += float(motion[moving].sum())
        shown = moving.any(1)
        flat = guess[shown].flatten(1), truth[shown].flatten(1)
        cosines[family] += torch.nn.functional.cosine_similarity(*flat).tolist()
    result: dict[str, Figures] = {}
    for family in sorted(errors):
        error = np.concatenate(errors[family])
        result[family] = Figures(
            heads=len(errors[family]),
            mae=float(error.mean()),
            q95=float(np.quantile(error, 0.95)),
            ratio=float(error.sum(dtype=np.float64)) / motions[family],
            cosine=float(np.mean(cosines[family])),
            seconds=float(np.mean(seconds[family])),
        )
    means = {
        name: float(np.mean([getattr(figures, name) for figures in result.values()]))
        for name in ("mae", "q95", "ratio", "cosine", "seconds")
    }
    return result | {"all": Figures(len(heads), **means)}
