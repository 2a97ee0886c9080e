"""Tiny heads for the tests of the stages: eggs whose poses are linear functions of the position."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from safetensors.numpy import save_file

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.operators import Operators
from raf_training.stages.targets import Target, write_head, write_manifest, write_target

P, K = len(ARKIT_POSES), 12
POSES = ("jawOpen", "mouthSmileLeft", "mouthClose")


def egg(seed: int) -> dict[str, NDArray[Any]]:
    """A sample with its triangles."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    radii = np.random.default_rng(seed).uniform(1.5, 2.5, 3)
    vertices, faces = np.asarray(ball.vertices) * radii, np.asarray(ball.faces, dtype=np.int64)
    operators = Operators.build(vertices, faces, np.zeros(len(vertices), dtype=np.int64), K)
    motion = 0.1 * np.random.default_rng(0).standard_normal((P, 3, 3))
    deltas = np.einsum("pij,vj->pvi", motion, vertices)
    mask = np.array([name in POSES for name in ARKIT_POSES])
    arrays = {"deltas": deltas.astype(np.float16), "mask": mask, "faces": faces.astype(np.int32)}
    return operators.as_inputs() | arrays


def write_samples(folder: Path, seeds: range) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(
        json.dumps({"families": ["egg"], "attribution": {"egg": "Eggs by nobody (CC0)"}})
    )
    for seed in seeds:
        save_file(egg(seed), folder / f"{seed:06d}.safetensors", metadata={"source": "egg/one"})
    return folder


def random_target(resolution: int, seed: int) -> Target:
    random = torch.Generator().manual_seed(seed)

    def image(*more: int) -> torch.Tensor:
        return torch.rand(resolution, resolution, *more, generator=random)

    return Target(image(), image().round(), 0.1 * image(2), image())


def write_targets(folder: Path, seeds: range, resolution: int = 16) -> Path:
    folder.mkdir()
    for seed in seeds:
        arrays = {name: value for name, value in egg(seed).items() if name not in ("deltas", "mask")}
        write_head(folder, f"head{seed}", arrays, "eggs")
        for number, pose in enumerate(POSES):
            write_target(folder, f"head{seed}", pose, random_target(resolution, 10 * seed + number))
    heads = {f"head{seed}": list(POSES) for seed in seeds}
    write_manifest(folder, resolution, heads, {"eggs": "More eggs (CC0)"})
    return folder
