"""``raf-train teacher``: an animator taught by rigged heads draws the 2D targets of unrigged ones.

Axis legend: S surface vertices, T triangles, K eigenpairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.operators import Operators
from raf_runtime.surface import Surface
from raf_training.data.rocketbox import ATTRIBUTION, RocketboxHead, load_rocketbox
from raf_training.dataset import SampleFolder
from raf_training.posing import posed
from raf_training.stages.heads import StageData
from raf_training.stages.targets import write_head, write_manifest, write_target
from raf_training.stages.views import FrontView
from raf_training.teacher.consistency import LEAST, consistent_targets
from raf_training.teacher.network import TeacherConfig, TeacherNetwork
from raf_training.teacher.training import displacement_error, train_teacher, view_of
from raf_training.train import device_of

__all__ = ["TeacherPlan", "draw_targets", "run_teacher"]

EIGENPAIRS = 128


@dataclass(frozen=True)
class TeacherPlan:
    """One run.

    Attributes
    ----------
    train, val : folders of samples of rigged heads.
    neutral : folder of ``rocketbox_neutral.npz``.
    out : folder for the checkpoint, logs, and the targets, in ``targets``.
    steps : of the training.
    heads : draw only so many unrigged heads.
    """

    train: Path
    val: Path
    neutral: Path
    out: Path
    steps: int = 3000
    heads: int | None = None
    seed: int = 0
    device: str = "cpu"


def run_teacher(plan: TeacherPlan, config: TeacherConfig | None = None) -> dict[str, float]:
    """Train the animator, or go on, and draw the targets of the heads that are not held out.

    Returns
    -------
    dict
        ``error``: mean error over mean motion of displacements on the held-out rigged heads; ``kept``: share of the
        targets that are confident enough.

    Raises
    ------
    DataError
        If samples or heads cannot be used, before anything is written.
    DeviceError
        If the device cannot be had.
    """
    config = config or TeacherConfig()
    device = device_of(plan.device)
    data, held_out = StageData(SampleFolder(plan.train)), StageData(SampleFolder(plan.val))
    unrigged = [head for head in load_rocketbox(plan.neutral) if not head.held_out][: plan.heads]
    plan.out.mkdir(parents=True, exist_ok=True)
    network = train_teacher(data, config, plan.out, plan.steps, plan.seed, device)
    errors: list[float] = []
    for number in range(len(held_out)):
        head = held_out.head(number).to(device)
        assert head.deltas is not None
        view = view_of(head, network)
        errors.append(displacement_error(network, view, head.poses, posed(head.deltas, head.poses)))
    kept = draw_targets(network, unrigged, plan.out / "targets", data.attribution, device)
    return {"error": float(np.mean(errors)), "kept": kept}


def draw_targets(
    network: TeacherNetwork,
    heads: list[RocketboxHead],
    out: Path,
    attribution: list[str],
    device: torch.device,
) -> float:
    """Draw all poses of some heads into a folder of 2D targets; returns the share that is kept.

    Weights that learn from the targets have learned from what the animator has seen: ``attribution`` goes with them.
    """
    out.mkdir(parents=True, exist_ok=True)
    resolution, listed = network.config.resolution, dict[str, list[str]]()
    for rocketbox in tqdm(heads, unit="head", desc="targets"):
        positions, faces, arrays = _surface(rocketbox)
        flip = positions.new_tensor([-1.0, 1.0, 1.0])
        pictures, mirrored = (
            FrontView(points.to(device), corners.to(device), resolution).pictures()
            for points, corners in ((positions, faces), (positions * flip, faces.flip(1)))
        )
        write_head(out, rocketbox.name, arrays, f"rocketbox/{rocketbox.name}")
        listed[rocketbox.name] = []
        drawn = consistent_targets(network, pictures, mirrored, range(len(ARKIT_POSES)))
        for pose, (target, confidence) in zip(ARKIT_POSES, drawn, strict=True):
            if confidence >= LEAST:
                write_target(out, rocketbox.name, pose, target)
                listed[rocketbox.name].append(pose)
    lines = {f"animator {number}": line for number, line in enumerate(attribution)}
    write_manifest(out, resolution, listed, {"rocketbox": ATTRIBUTION, **lines})
    return sum(map(len, listed.values())) / (len(heads) * len(ARKIT_POSES))


def _surface(head: RocketboxHead) -> tuple[Tensor, Tensor, dict[str, np.ndarray]]:
    """Positions (S, 3) and faces (T, 3) of an unrigged head, and its arrays, float16 where a sample's are."""
    surface = Surface.build(head.vertices, head.faces)
    operators = Operators.build(surface.vertices, surface.faces, surface.component, EIGENPAIRS)
    wide = ("positions", "mass", "eigenvalues")
    arrays: dict[str, np.ndarray] = {
        name: value if name in wide else value.astype(np.float16)
        for name, value in operators.as_inputs().items()
    }
    arrays["faces"] = surface.faces.astype(np.int32)
    return torch.from_numpy(operators.positions), torch.from_numpy(surface.faces), arrays
