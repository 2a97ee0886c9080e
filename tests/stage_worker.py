"""A tiny run of stage 1 in a process of its own: python stage_worker.py DATA OUT STEPS BATCH [KILL].

KILL is a step to die at, as by kill -9, or ``save``: then it dies while it writes its second checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from raf_training.losses.weights import LossWeights
from raf_training.network import NetworkConfig, RigNetwork
from raf_training.stages import loop
from raf_training.stages.config import StageConfig
from raf_training.stages.schedule import cosine_restarts

NETWORK = NetworkConfig(
    eigenpairs=12,
    width=16,
    gradients=8,
    trunk_blocks=0,
    pose_blocks=2,
    encoder_width=8,
    encoder_gradients=4,
    encoder_blocks=1,
    anchors=0,
    frequencies=0,
)


def tiny_plan(data: Path, out: Path, steps: int, batch: int = 1) -> loop.StagePlan:
    """Stage 1 on the folders ``train``, ``val`` and ``unrigged`` of ``data``."""
    weights = LossWeights(image=10.0, mask=1.0, displacement_2d=1.0, regularisation=1e-4)
    config = StageConfig(
        NETWORK, weights, 1000, steps, poses=2, batch=batch, resolution=24, rate=1e-2, warm_up=2
    )
    return loop.StagePlan(
        1, config, data / "train", data / "val", out, unrigged=data / "unrigged", every=3, seed=4
    )


def die_at(step: int) -> None:
    def rate(now: int, steps: int, warm_up: int, cycles: int) -> float:
        if now == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return cosine_restarts(now, steps, warm_up, cycles)

    loop.cosine_restarts = rate  # pyright: ignore[reportPrivateImportUsage]


def die_while_saving() -> None:
    save = loop.save_checkpoint  # pyright: ignore[reportPrivateImportUsage]

    def partly(path: Path, state: dict[str, Any]) -> None:
        if state["step"] > 3:
            path.with_suffix(".tmp").write_bytes(b"PK\x03\x04 and then nothing")
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, state)

    loop.save_checkpoint = partly  # pyright: ignore[reportPrivateImportUsage]


def keep_network(kept: list[RigNetwork]) -> None:
    make = loop._network

    def keep(plan: loop.StagePlan, attribution: list[str]) -> tuple[RigNetwork, list[str]]:
        network, lines = make(plan, attribution)
        kept.append(network)
        return network, lines

    loop._network = keep


if __name__ == "__main__":
    data, out, steps, batch, *kill = sys.argv[1:]
    torch.set_num_threads(1)
    if kill == ["save"]:
        die_while_saving()
    elif kill:
        die_at(int(kill[0]))
    networks: list[RigNetwork] = []
    keep_network(networks)
    loop.train_stage(tiny_plan(Path(data), Path(out), int(steps), int(batch)))
    torch.save(networks[0].state_dict(), Path(out) / f"rank{os.environ.get('RANK', '0')}.pt")
