"""Egg-shaped heads whose poses are linear functions of the position: a tiny network learns them in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_runtime.operators import Operators
from raf_training.batches import MIRRORED_POSES, Batch
from raf_training.data.build import STRANGE
from raf_training.network import NetworkConfig, SurfaceTensors

P = len(ARKIT_POSES)
TINY = NetworkConfig(
    eigenpairs=12,
    width=16,
    gradients=8,
    trunk_blocks=1,
    encoder_width=8,
    encoder_gradients=4,
    encoder_blocks=1,
    anchors=4,
    frequencies=1,
)


@dataclass(frozen=True)
class Egg:
    """Its three radii; a stranger moves the other way. Each subdivision makes four triangles of one."""

    radii: NDArray[np.float64]
    strange: bool = False
    subdivisions: int = 1


def known_and_strange(seeds: range, all_strange: bool | None = None, sizes: int = 1) -> list[Egg]:
    """Eggs that are tall, or wide, which are strangers; of one or more numbers of vertices."""
    result = []
    for seed in seeds:
        strange = seed % 2 == 0 if all_strange is None else all_strange
        radii = np.random.default_rng(seed).uniform(1.9, 2.1, 3)
        shape = [1.3, 0.8, 1.0] if strange else [0.9, 1.2, 1.0]
        result.append(Egg(radii * shape, strange, 1 + seed // 2 % sizes))
    return result


def write_eggs(folder: Path, eggs: Iterable[Egg]) -> Path:
    """A folder of samples, as ``raf-data build`` writes them."""
    folder.mkdir()
    (folder / "manifest.json").write_text(
        json.dumps({"families": ["egg"], "attribution": {"egg": "Eggs by nobody (CC0)"}})
    )
    motion = 0.1 * np.random.default_rng(0).standard_normal((P, 3, 3))
    flip = np.array([-1.0, 1.0, 1.0])
    # Training mirrors heads: what is to be learned must be its own mirror image.
    motion = motion + flip[:, None] * motion[MIRRORED_POSES.numpy()] * flip
    for number, egg in enumerate(eggs):
        ball = trimesh.creation.icosphere(subdivisions=egg.subdivisions)
        vertices, faces = np.asarray(ball.vertices) * egg.radii, np.asarray(ball.faces, dtype=np.int64)
        operators = Operators.build(vertices, faces, np.zeros(len(vertices), dtype=np.int64), TINY.eigenpairs)
        deltas = np.einsum("pij,vj->pvi", -motion if egg.strange else motion, vertices)
        arrays = {
            name: value if name in ("positions", "mass", "eigenvalues") else value.astype(np.float16)
            for name, value in (operators.as_inputs() | {"deltas": deltas}).items()
        }
        arrays["mask"] = np.ones(P, dtype=np.bool_)
        about = {"source": "egg/one"} | ({STRANGE: "yes"} if egg.strange else {})
        save_file(arrays, folder / f"{number:06d}.safetensors", metadata=about)
    return folder


def tensors(batch: Batch) -> dict[str, Tensor]:
    """All tensors of a batch by name."""
    surface = {name: getattr(batch.surface, name) for name in INPUTS}
    return surface | {name: getattr(batch, name) for name in ("deltas", "mask", "there", "strange")}


def only(batch: Batch, index: int) -> Batch:
    """One head of a batch without its padding."""
    there = batch.there[index]
    cut = {name: value[index : index + 1] for name, value in tensors(batch).items()}
    for name in ("positions", "normals", "mass", "eigenvectors", "gradient_x", "gradient_y", "there"):
        cut[name] = cut[name][:, there]
    cut["deltas"] = cut["deltas"][:, :, there]
    surface = SurfaceTensors(*(cut.pop(name) for name in INPUTS))
    return Batch(surface, sources=batch.sources[index : index + 1], **cut)
