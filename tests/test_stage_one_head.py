"""The bar of stage 1: pictures alone teach a head that does not move to open its jaw."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import trimesh
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.operators import Operators
from raf_training.checkpoint import load_network
from raf_training.dataset import SampleFolder
from raf_training.posing import pose_vectors
from raf_training.stages.heads import StageData
from raf_training.stages.loop import train_stage
from raf_training.stages.views import FrontView

if TYPE_CHECKING:
    from tests.stage_worker import NETWORK, tiny_plan
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_worker import NETWORK, tiny_plan

OPEN, R = ARKIT_POSES.index("jawOpen"), 48


def write_jaw(folder: Path) -> None:
    """An egg whose lower front turns about the ears."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = np.asarray(ball.vertices) * [1.8, 2.4, 2.0], np.asarray(ball.faces, np.int64)
    operators = Operators.build(vertices, faces, np.zeros(len(vertices), np.int64), NETWORK.eigenpairs)
    share = np.clip(-vertices[:, 1] / 1.5, 0, 1) * np.clip(1 + vertices[:, 2], 0, 1)
    turned = Rotation.from_euler("x", 20, degrees=True).apply(vertices) - vertices
    deltas = np.zeros((len(ARKIT_POSES), *vertices.shape), np.float16)
    deltas[OPEN] = share[:, None] * turned
    mask = np.arange(len(ARKIT_POSES)) == OPEN
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps({"families": ["egg"], "attribution": {"egg": "Eggs"}}))
    arrays = {"deltas": deltas, "mask": mask, "faces": faces.astype(np.int32)}
    save_file(operators.as_inputs() | arrays, folder / "000000.safetensors", metadata={"source": "egg"})


def test_pictures_alone_open_the_jaw(tmp_path: Path) -> None:
    write_jaw(tmp_path / "train")
    plan = tiny_plan(tmp_path, tmp_path / "out", 500)
    config = replace(
        plan.config, network=replace(NETWORK, width=32), resolution=R, rate=3e-3, warm_up=10, poses=1
    )
    assert config.weights.mse_3d == config.weights.landmark_2d == config.weights.eye_closure_2d == 0
    train_stage(replace(plan, config=config, val=plan.train, unrigged=None, every=500))

    head = StageData(SampleFolder(plan.train)).head(0)
    assert head.deltas is not None
    view = FrontView(head.surface.positions, head.faces, R)
    network, _ = load_network(plan.out / "weights.safetensors")
    with torch.no_grad():
        moved = network(head.surface, pose_vectors([OPEN]))
    still, found, true = (view.displacement(d) for d in (0 * moved, moved, head.deltas[[OPEN]]))
    left = (found - true).norm(dim=-1).sum() / (still - true).norm(dim=-1).sum()
    assert (still - true).norm(dim=-1).max() > 0.01
    assert float(left) < 0.4
