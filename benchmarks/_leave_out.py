"""Rigs of a family that training never saw: by the network, by not moving, by the classical way.

Identities are held out as for every other figure; here the topology, the proportions and the shapes of the
whole family are new as well. A family's figure is the mean over its rigs (MakeHuman's base mesh and each of its
proxies count alike), a rig's is pooled over vertices, shapes and heads.

The networks that find the canonical frame have seen every human family. What is measured with the estimated
frame is what a user gets; the true frame leaves that advantage, and those networks' errors, out.

Axis legend: V vertices, P poses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _measure import Heads, Measured, measure
from _metrics import on_open_jaw
from _report import table
from numpy.typing import NDArray

import raf_sdk
from raf_export.onnx_file import export_onnx
from raf_runtime.contract import ARKIT_POSES, META_ATTRIBUTION
from raf_runtime.errors import ModelError
from raf_runtime.session import Session
from raf_training.checkpoint import load_network
from raf_training.data.build import SHARES, BuildPlan, build
from raf_training.data.rig_source import RigSource
from raf_training.data.sources import load_families
from raf_training.train import TrainPlan, train

__all__ = [
    "FIGURES",
    "Predict",
    "Training",
    "exported",
    "family_figures",
    "measure_left_out",
    "measure_method",
    "print_left_out",
    "refuse_if_seen",
    "still",
    "train_without",
]

FIGURES = ("mae", "q95", "ratio", "scaled_ratio", "cosine")

Floats = NDArray[np.float32]
# A rig and neutral vertices (V, 3) of one of its identities -> displacements (P, V, 3).
Predict = Callable[[RigSource, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Training:
    """How to train without a family: everything that its figures depend on."""

    steps: int
    samples: int
    seed: int
    device: str
    processes: int


def train_without(family: str, data: Path, out: Path, training: Training) -> Path:
    """Train on all families but one, from scratch; an interrupted run is resumed. Returns the weights.

    Nothing is chosen by the validation, so that it may be of the families that are learned from.
    """
    families = tuple(name for name in SHARES if name != family)
    for split, samples in (("train", training.samples), ("val", max(8, training.samples // 25))):
        build(BuildPlan(data, out / split, families, split, samples, training.seed), training.processes)
    train(
        TrainPlan(
            out / "train",
            out / "val",
            out,
            steps=training.steps,
            seed=training.seed,
            device=training.device,
        )
    )
    return out / "weights.safetensors"


def exported(weights: Path, out: Path) -> Path:
    """Export weights of ``raf-train``.

    Raises
    ------
    ModelError
        If they were begun from other weights: what those have seen, nothing says.
    """
    if '"init": null' not in load_network(weights)[1].get("training", ""):
        raise ModelError(f"{weights} does not say that it was trained from scratch; give such weights")
    out.mkdir(parents=True, exist_ok=True)
    model = out / "model.onnx"
    export_onnx(weights, model)
    return model


def refuse_if_seen(model: Path, rigs: list[RigSource]) -> None:
    """Make sure that a model left some rigs out, as far as its own attribution tells.

    Raises
    ------
    ModelError
        If it was trained on one of them, or does not say on what.
    """
    said = Session(model, "cpu").metadata.get(META_ATTRIBUTION, "").splitlines()
    if not said:
        raise ModelError(f"{model} does not say what it was trained on; export it again with `raf-export`")
    if seen := [rig.attribution for rig in rigs if rig.attribution in said]:
        raise ModelError(f"{model} was trained on {seen[0]!r}; give one that was trained without")


def measure_left_out(
    model: Path, family: str, identities: int, data: Path, true_frame: bool = True
) -> list[Measured]:
    """Rig a family with a model that has not seen it, from raw vertices.

    Parameters
    ----------
    model
        An ONNX file of ``raf-export``.
    family
        A name in :data:`raf_training.data.sources.FAMILIES`.
    identities
        Held-out heads per rig.
    data
        Folder of the archives.
    true_frame
        Whether to measure also as if the canonical frame were known.

    Raises
    ------
    ModelError
        If the model has seen the family.
    """
    rigs = list(load_families(data, [family]).values())
    refuse_if_seen(model, rigs)
    rigger, heads = raf_sdk.Rigger(model), Heads.load(data)
    return [result for rig in rigs for result in measure(rigger, rig, heads, identities, true_frame)]


def measure_method(predict: Predict, method: str, family: str, identities: int, data: Path) -> list[Measured]:
    """Measure any other way to rig on the same heads."""
    heads, results = Heads.load(data), list[Measured]()
    for rig in load_families(data, [family]).values():
        result, truth = Measured.of(rig, "", method), on_open_jaw(rig.deltas)
        for vertices, millimetres in heads.draw(rig, identities):
            result.add(on_open_jaw(predict(rig, vertices)), truth, millimetres)
        results.append(result)
    return results


def still(rig: RigSource, vertices: Floats) -> Floats:
    """Move nothing."""
    return np.zeros((len(ARKIT_POSES), *vertices.shape), np.float32)


def family_figures(rigs: list[Measured], pose: str | None = None) -> dict[str, float]:
    """Mean of the rigs' figures, of all poses or one, head 240 mm from chin to crown."""
    scores = [rig.by_pose().get(pose) if pose else rig.score() for rig in rigs]
    return {name: float(np.mean([getattr(score, name) for score in scores if score])) for name in FIGURES}


def print_left_out(family: str, measured: list[Measured]) -> dict[str, dict[str, float]]:
    """Print the family by each method, its rigs, then its shapes; returns the family's figures."""
    methods: dict[str, list[Measured]] = {}
    for result in measured:
        name = f"{result.method}, {result.frame} frame" if result.frame else result.method
        methods.setdefault(name, []).append(result)

    def row(name: str, rigs: list[Measured]) -> list[str]:
        figures = (f"{value:.3f}" for value in family_figures(rigs).values())
        return [name, str(sum(rig.heads for rig in rigs)), *figures]

    header = ["", "heads", "MAE", "Q95", "ratio", "scaled", "cosine"]
    title = f"{family}, left out; mean over rigs, mm on a head 240 mm from chin to crown"
    table(title, header, [row(name, rigs) for name, rigs in methods.items()])
    table(
        "each rig", header, [row(f"{rig.source}: {name}", [rig]) for name in methods for rig in methods[name]]
    )
    poses = [pose for pose in ARKIT_POSES if any(pose in rig.by_pose() for rig in measured)]
    cell = "{ratio:.2f} / {scaled_ratio:.2f} / {cosine:.2f}".format
    rows = [[pose, *(cell(**family_figures(rigs, pose)) for rigs in methods.values())] for pose in poses]
    table("ratio / scaled ratio / cosine", ["shape", *methods], rows)
    return {name: family_figures(rigs) for name, rigs in methods.items()}
