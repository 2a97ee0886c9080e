"""What the animator says of a pose, and how far to believe it: by what it says of the head in a mirror.

Nobody tells the network that left and right are alike. Where it answers a mirrored head in the mirrored pose with
something else than the mirror image of its answer, at least one of the two is wrong::

    confidence = exp(-(|d - mirror(d')| / (tolerance * peak))^2)

pixel by pixel, for displacements d and d', where ``peak`` is the largest motion in their mean.

Axis legend: B poses, P shapes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from raf_training.batches import MIRRORED_POSES
from raf_training.posing import pose_vectors
from raf_training.stages.targets import Target
from raf_training.teacher.network import TeacherNetwork

__all__ = ["LEAST", "consistent_targets"]

# Where the two answers differ by this share of the largest motion, they are believed by 1 / e.
TOLERANCE: Final = 0.3
# A pose is dropped where the mean confidence, weighted by the motion, is less.
LEAST: Final = 0.5
# Motions below this share of the image cannot be seen, so that nothing can be learned from them.
UNSEEN: Final = 0.002


@torch.no_grad()
def consistent_targets(
    network: TeacherNetwork, pictures: Tensor, mirrored_pictures: Tensor, rows: Sequence[int]
) -> list[tuple[Target, float]]:
    """Targets of one head, and the confidence of each as a whole: 0 where nothing visible moves.

    Parameters
    ----------
    network : TeacherNetwork
    pictures, mirrored_pictures : (6, H, W) float32
        Of the neutral head, and of its mirror image in the same light.
    rows : sequence of int
        Poses.
    """
    many = pictures.expand(len(rows), -1, -1, -1)
    plain = network(many, pose_vectors(rows).to(pictures))
    swapped = MIRRORED_POSES[list(rows)].tolist()
    mirrored = network(mirrored_pictures.expand_as(many), pose_vectors(swapped).to(pictures))
    flip = torch.tensor([-1.0, 1.0]).to(pictures)
    shown = (pictures[0] > 0.5)[None, :, :, None]
    here, there = plain.displacement * shown, mirrored.displacement.flip(2) * flip * shown
    mean = (here + there) / 2
    motion = mean.norm(dim=-1)
    peak = motion.amax((1, 2), keepdim=True).clamp(min=UNSEEN)
    confidence = torch.exp(-(((here - there).norm(dim=-1) / (TOLERANCE * peak)) ** 2))
    whole = (confidence * motion).sum((1, 2)) / motion.sum((1, 2)).clamp(min=1e-9)
    whole = whole * (peak[:, 0, 0] > UNSEEN)
    mask = (plain.mask_logit.sigmoid() + mirrored.mask_logit.flip(2).sigmoid()) / 2
    return [
        (Target(plain.image[i].clamp(0, 1), mask[i], mean[i], confidence[i]), float(whole[i]))
        for i in range(len(rows))
    ]
