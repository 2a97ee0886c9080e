"""Train the networks that find the canonical frame: ``python -m raf_training.frame_training --help``.

Both learn from clouds of :mod:`raf_training.frame_clouds`. The loss is the distance of the three anchors in
units plus the distance of the two axes, where the cloud is nearly upright; everywhere, the first network also
learns how upright a cloud is.

Axis legend: B clouds of a batch, N points, C = 6 coordinates.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from raf_runtime.frame import load_frame_networks
from raf_training.data.sources import load_sources
from raf_training.frame_check import check_frames
from raf_training.frame_clouds import Batch, CloudPool

__all__ = ["PointNet", "frame_loss", "network_arrays", "train_network"]

Kind = Literal["coarse", "fine"]
KINDS: Final[tuple[Kind, ...]] = ("coarse", "fine")
OUTPUTS: Final = 1 + 2 * 3 + 3 * 3
WIDTHS: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "coarse": ((6, 48, 96, 192), (384, 128, OUTPUTS)),
    "fine": ((6, 64, 96, 192), (384, 192, 96, OUTPUTS)),
}
POINTS: Final = {"coarse": 512, "fine": 512}
# Shares of the training time; the first network only has to point the second at the face.
SHARE: Final = {"coarse": 0.4, "fine": 0.6}
BATCH: Final = 32
LEARNING_RATE: Final = 1.5e-3
# Beyond this cosine of its angle another of the 24 axis rotations is nearer, and nobody asks for its frame.
UPRIGHT: Final = 0.65


class PointNet(nn.Module):
    """The torch twin of :class:`raf_runtime.frame.PointNetwork`."""

    def __init__(self, point: tuple[int, ...], head: tuple[int, ...]) -> None:
        super().__init__()
        self.point = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(point))
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(head))

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Clouds (B, N, 6) -> uprightness (B,), axes (B, 2, 3), anchors (B, 3, 3)."""
        x = clouds
        for layer in self.point:
            x = torch.relu(layer(x))
        x = torch.cat([x.max(1).values, x.mean(1)], 1)
        for layer in list(self.head)[:-1]:
            x = torch.relu(layer(x))
        x = self.head[-1](x)
        return x[:, 0], x[:, 1:7].reshape(-1, 2, 3), x[:, 7:].reshape(-1, 3, 3)


def frame_loss(network: PointNet, batch: Batch) -> Tensor:
    """Mean of: anchor distance (units) + 2 x axis distance, where nearly upright; + uprightness error."""
    uprightness, axes, anchors = network(batch.clouds)
    # The trace of the rotation tells its angle; the X axis follows from the other two.
    up, forward = batch.axes.unbind(1)
    right = torch.linalg.cross(up, forward)
    cosine = (right[:, 0] + up[:, 1] + forward[:, 2] - 1) / 2
    near = (cosine > UPRIGHT).float()
    anchor_error = (anchors - batch.anchors).norm(dim=2).mean(1) / batch.unit
    axis_error = (axes - batch.axes).norm(dim=2).mean(1)
    placed = (near * (anchor_error + 2 * axis_error)).sum() / near.sum().clamp(min=1)
    return placed + 2 * (uprightness - cosine).abs().mean()


def train_network(kind: Kind, pool: CloudPool, minutes: float) -> PointNet:
    """Train one network for a given time; the learning rate falls to zero along half a cosine."""
    network = PointNet(*WIDTHS[kind])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    draw = pool.coarse_batch if kind == "coarse" else pool.fine_batch
    start, smooth = time.monotonic(), float("nan")
    with tqdm(desc=kind, unit="step") as progress:
        while (done := (time.monotonic() - start) / (60 * minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = (
                    LEARNING_RATE * min(1.0, (progress.n + 1) / 100) * 0.5 * (1 + np.cos(np.pi * done))
                )
            loss = frame_loss(network, draw(BATCH, POINTS[kind]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            smooth = loss.item() if progress.n == 0 else 0.98 * smooth + 0.02 * loss.item()
            progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
            progress.update()
    return network


def network_arrays(name: str, network: PointNet) -> dict[str, np.ndarray]:
    """Weights as the runtime reads them: (C_in, C_out), half precision."""
    arrays: dict[str, np.ndarray] = {}
    for stage in ("point", "head"):
        for i, layer in enumerate(getattr(network, stage)):
            arrays[f"{name}.{stage}.{i}.weight"] = layer.weight.detach().numpy().T.astype(np.float16)
            arrays[f"{name}.{stage}.{i}.bias"] = layer.bias.detach().numpy().astype(np.float16)
    return arrays


def main() -> None:
    """Train both networks, write them, and print how well they do on identities they have not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument("--output", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--identities", type=int, default=1800, help="heads in the pool")
    parser.add_argument("--minutes", type=float, default=9.0, help="training time of both networks")
    parser.add_argument("--only", choices=KINDS, help="train this one; the other stays as it is in --output")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    sources = load_sources(arguments.data)
    pool = CloudPool(list(sources.values()), arguments.identities, arguments.seed)
    arrays: dict[str, np.ndarray] = {}
    if arguments.only:
        with np.load(arguments.output, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if not name.startswith(arguments.only)}
    kinds: tuple[Kind, ...] = (arguments.only,) if arguments.only else KINDS
    for kind in kinds:
        arrays |= network_arrays(kind, train_network(kind, pool, SHARE[kind] * arguments.minutes))
    np.savez_compressed(arguments.output, **arrays)
    networks = load_frame_networks(arguments.output)
    for line in check_frames(list(sources.values()), networks, heads=60, seed=arguments.seed + 1):
        tqdm.write(line)


if __name__ == "__main__":
    main()
