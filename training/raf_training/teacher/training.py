"""Training of the animator on renders of rigged heads.

With displacement d drawn and t true, means over the pixels of the neutral head, and likewise image and mask::

    loss = mean |d - t| / (mean |t| + c) + b mean |d - t|^2 / (mean |t|^2 + c^2) + mean |image - true| / s + BCE(mask)

As for rigs, small motions count by their own size, and the squared term keeps them from resting at zero.

Axis legend: B poses, H x W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from raf_runtime.errors import ModelError
from raf_training.checkpoint import load_checkpoint, save_checkpoint
from raf_training.errors import DataError
from raf_training.posing import pose_vectors, posed
from raf_training.rendering.displacement import STILL
from raf_training.stages.heads import StageData, StageHead
from raf_training.stages.lessons import lessons
from raf_training.stages.schedule import Order, cosine_restarts
from raf_training.stages.views import FrontView
from raf_training.teacher.network import Drawing, TeacherConfig, TeacherNetwork

__all__ = ["displacement_error", "drawing_loss", "train_teacher", "view_of"]

# Heads and poses of each in a step; Adam's peak rate.
BATCH, POSES, RATE, WARM_UP = 4, 2, 2e-3, 50
# Mean motion, in shares of the image, below which a pose counts less; weight of the squared term.
QUIET, SQUARED = 5e-4, 0.3
# Grey values that count like an error as large as the motion.
GREY: Final = 0.05


def drawing_loss(drawn: Drawing, image: Tensor, mask: Tensor, displacement: Tensor, shown: Tensor) -> Tensor:
    """Compare what was drawn of B poses with the truth; returns a scalar.

    Parameters
    ----------
    drawn : Drawing
    image, mask : (B, H, W) float32
    displacement : (B, H, W, 2) float32
    shown : (B, H, W) float32
        1 where the neutral head is: displacements count only there.
    """
    area = shown.sum((1, 2)).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * shown).sum((1, 2)) / area

    error = (drawn.displacement - displacement).square().sum(-1)
    energy = displacement.square().sum(-1)
    distance = mean((error + 1e-10).sqrt()) / (mean(energy.sqrt()) + QUIET)
    squares = mean(error) / (mean(energy) + QUIET**2)
    grey = (drawn.image - image).abs().mean((1, 2)) / GREY
    silhouette = functional.binary_cross_entropy_with_logits(drawn.mask_logit, mask)
    return (distance + SQUARED * squares + grey).mean() + silhouette


def train_teacher(
    data: StageData, config: TeacherConfig, out: Path, steps: int, seed: int, device: torch.device
) -> TeacherNetwork:
    """Train, or go on with, an animator.

    Raises
    ------
    DataError
        If a loss is not finite.
    ModelError
        If the checkpoint cannot be read, or is of another animator.
    """
    torch.manual_seed(seed)
    network = TeacherNetwork(config).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    checkpoint, first = out / "teacher.pt", 0
    if checkpoint.is_file():
        state = load_checkpoint(checkpoint)
        try:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(
                f"{checkpoint} is of another animator; choose another --out ({error})"
            ) from error
        first = state["step"]
    order = Order(data.poses, POSES, seed)
    with SummaryWriter(str(out / "logs"), purge_step=first) as log:
        stream = lessons(data, order, range(first, steps), BATCH)
        bar = tqdm(stream, total=steps, initial=first, unit="step", desc="teacher")
        for step, lesson in enumerate(bar, first):
            for group in optimizer.param_groups:
                group["lr"] = RATE * cosine_restarts(step, steps, min(WARM_UP, steps // 10), 1)
            parts: list[tuple[Tensor, ...]] = []
            for part in lesson:
                head = part.head.to(device)
                assert head.deltas is not None
                parts.append(_truth(view_of(head, network), posed(head.deltas, part.rows)))
            pictures, image, mask, displacement = (torch.cat(column) for column in zip(*parts, strict=True))
            poses = torch.cat([pose_vectors(part.rows) for part in lesson]).to(device)
            loss = drawing_loss(network(pictures, poses), image, mask, displacement, pictures[:, 0])
            if not loss.isfinite():
                raise DataError(f"step {step}: the loss on {lesson[0].head.source} and others is not finite")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            log.add_scalar("teacher/loss", loss.item(), step)
            if (step + 1) % 200 == 0 or step + 1 == steps:
                state = {"step": step + 1, "network": network.state_dict()}
                save_checkpoint(checkpoint, state | {"optimizer": optimizer.state_dict()})
    return network.eval()


def view_of(head: StageHead, network: TeacherNetwork) -> FrontView:
    """A head as the animator sees it."""
    return FrontView(head.surface.positions, head.faces, network.config.resolution)


@torch.no_grad()
def _truth(view: FrontView, moved: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures of the neutral head, image, mask and displacement of its poses, all with a first axis B."""
    pictures = view.pictures().expand(len(moved), -1, -1, -1)
    return pictures, *view.images(moved, soft=False), (view.displacement(moved) - STILL) / 0.5


@torch.no_grad()
def displacement_error(
    network: TeacherNetwork, view: FrontView, rows: tuple[int, ...], moved: Tensor
) -> float:
    """Mean error over mean motion of displacements drawn of a head, pooled over poses (B, V, 3)."""
    truth = (view.displacement(moved) - STILL) / 0.5
    pictures = view.pictures().expand(len(moved), -1, -1, -1)
    drawn = network(pictures, pose_vectors(rows).to(pictures)).displacement
    error, motion = ((view.mask * d.norm(dim=-1)).sum() for d in (drawn - truth, truth))
    return float(error / motion)
