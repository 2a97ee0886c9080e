"""Train the first two networks that find the canonical frame: ``python -m raf_training.frame_training --help``.

They learn from maps of :mod:`raf_training.frame_clouds`. The loss is the distance of the three anchors in units
plus the distance of the two axes, where the head is nearly upright; everywhere, the networks also learn how
upright it is. The third network, for plain human heads, stays: it was trained before there were outfits and animals,
by this module as of commit 236b703, where it is the second.

Axis legend: B maps of a batch, G cells.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from raf_runtime.frame import shipped_networks
from raf_runtime.frame_networks import CELLS, OUTPUTS, MapNetwork
from raf_training.data.rig_source import RigSource
from raf_training.data.rocketbox import load_rocketbox
from raf_training.data.sources import load_sources
from raf_training.data.wardrobe import load_wardrobe
from raf_training.frame_check import check_frames
from raf_training.frame_clouds import Batch, CloudPool
from raf_training.frame_file import Layers, write_network
from raf_training.frame_heads import POINTS, Head

__all__ = ["MapNet", "frame_loss", "save_network", "train_network"]

Kind = Literal["coarse", "fine"]
KINDS: Final[tuple[Kind, ...]] = ("coarse", "fine")
# How often each family is drawn. The three animals have one identity each, but are warped every time.
SHARES: Final = {"ict": 0.21, "makehuman": 0.23, "vitruvian": 0.18, "animals": 0.17, "rocketbox": 0.21}
SAMPLES: Final = {"coarse": 2048, "fine": POINTS}
# The second network sees no more of a head than this, in units, wherever the first one believes the face to be.
REACH: Final = {"coarse": float("inf"), "fine": 6.0}
STEPS: Final = {"coarse": 4800, "fine": 7000}
BATCH: Final = 32
LEARNING_RATE: Final = 1.5e-3
# Beyond this cosine of its angle another of the 24 axis rotations is nearer, and nobody asks for its frame.
UPRIGHT: Final = 0.65


class MapNet(nn.Module):
    """The torch twin of :class:`raf_runtime.frame_networks.MapNetwork`."""

    def __init__(self) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(5, 24, 3, padding=1),
            nn.Conv2d(24, 48, 3, padding=1, stride=2),
            nn.Conv2d(48, 96, 3, padding=1, stride=2),
            nn.Conv2d(96, 128, 3, padding=1, stride=2),
        ]
        for layer in layers:  # maps come with their channels last, and are fastest left so
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        self.convolution = nn.ModuleList(layers)
        widths = (128 * (CELLS // 8) ** 2, 128, 96, OUTPUTS)
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, G, G, 5) -> outputs (B, 16)."""
        x = maps.permute(0, 3, 1, 2)
        for layer in self.convolution:
            x = torch.relu(layer(x))
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.head[:-1]:
            x = torch.relu(layer(x))
        return self.head[-1](x)


def frame_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Mean of: distance of anchors (units) and of axes and error of the unit, where upright; uprightness."""
    outputs = network(batch.maps)
    uprightness, axes, anchors = (
        outputs[:, 0],
        outputs[:, 1:7].reshape(-1, 2, 3),
        outputs[:, 7:].reshape(-1, 3, 3),
    )
    # The trace of the rotation tells its angle; the X axis follows from the other two.
    up, forward = batch.axes.unbind(1)
    right = torch.linalg.cross(up, forward)
    cosine = (right[:, 0] + up[:, 1] + forward[:, 2] - 1) / 2
    near = (cosine > UPRIGHT).float()
    anchor_error = (anchors - batch.anchors).norm(dim=2).mean(1) / batch.unit
    axis_error = (axes - batch.axes).norm(dim=2).mean(1)
    # Doubt draws the anchors towards each other; a term of its own keeps the unit from shrinking with them.
    spread = (anchors - anchors.mean(1, keepdim=True)).square().sum(2).mean(1).sqrt().clamp(min=1e-3)
    unit_error = (spread / batch.unit).log().abs()
    placed = (near * (anchor_error + 2 * axis_error + unit_error)).sum() / near.sum().clamp(min=1)
    return placed + 2 * (uprightness - cosine).abs().mean()


def train_network(kind: Kind, pool: CloudPool, steps: int, seed: int) -> MapNet:
    """Train one network; the learning rate falls to zero along half a cosine."""
    torch.manual_seed(seed)
    network = MapNet()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    draw = pool.coarse_batch if kind == "coarse" else pool.fine_batch
    smooth = float("nan")
    progress = tqdm(range(steps), desc=kind, unit="step")
    for step in progress:
        for group in optimizer.param_groups:
            group["lr"] = (
                LEARNING_RATE * min(1.0, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
            )
        loss = frame_loss(network, draw(BATCH, SAMPLES[kind]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    return network


def save_network(network: MapNet, path: Path) -> None:
    """Write a network as the runtime reads it."""
    state = network.state_dict()

    def layers(part: str, count: int) -> Layers:
        names = (f"{part}.{i}" for i in range(count))
        return [(state[f"{name}.weight"].numpy(), state[f"{name}.bias"].numpy()) for name in names]

    convolution, head = len(network.convolution), len(network.head)
    write_network(path, layers("convolution", convolution), layers("head", head))


def main() -> None:
    """Train two networks, write them, and print how well all three do on identities they have not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="the folder to write frame_coarse.onnx and frame_fine.onnx to",
    )
    parser.add_argument("--heads", type=int, default=1500, help="heads in the pool (1500)")
    parser.add_argument("--steps", type=float, default=1.0, help="factor of the number of steps (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="*", default=[], metavar="RIG", help="rigs to leave out (none)")
    arguments = parser.parse_args()

    # More threads would sum in another order, and a rerun give other weights.
    torch.set_num_threads(1)
    sources = [rig for rig in load_sources(arguments.data).values() if rig.name not in arguments.without]
    rocketbox = load_rocketbox(arguments.data)
    heads: list[Head] = [*sources, *(head for head in rocketbox if not head.held_out)]
    families = [
        (members, share)
        for family, share in SHARES.items()
        if (members := [head for head in heads if _family(head) == family])
    ]
    wardrobe = load_wardrobe(arguments.data)
    arguments.output.mkdir(parents=True, exist_ok=True)
    trained: dict[str, MapNetwork] = {}
    for kind in KINDS:
        pool = CloudPool(families, wardrobe, arguments.heads, arguments.seed, REACH[kind])
        steps = round(arguments.steps * STEPS[kind])
        path = arguments.output / f"frame_{kind}.onnx"
        save_network(train_network(kind, pool, steps, arguments.seed), path)
        trained[kind] = MapNetwork(path.read_bytes())
    networks = replace(shipped_networks(), **trained)
    for line in check_frames(sources, rocketbox, networks, heads=60, seed=arguments.seed + 1):
        tqdm.write(line)


def _family(head: Head) -> str:
    return head.family if isinstance(head, RigSource) else "rocketbox"


if __name__ == "__main__":
    main()
