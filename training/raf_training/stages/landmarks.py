"""Landmarks without annotation: a rig says itself where its brows, lip corners and lids are.

The landmark of a pose is the vertex that it moves most. A pair of lids is the vertex of the upper lid that a blink
moves most, and that vertex below it, hardly moved by the blink, which it comes nearest to.

Axis legend: V vertices, P poses, L landmarks.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.losses.landmark_2d import Landmarks
from raf_training.network import LANDMARKS

__all__ = ["landmarks_of", "lids_of"]

# A pose that moves nothing further than this, in units, marks nothing; nor a blink without a lower lid so near.
STILL: Final = 0.01
NEAR: Final = 0.3
# The lower lid moves less than this share of the upper one's motion.
LOWER: Final = 0.4


def _at(vertices: list[int], like: Tensor) -> Landmarks:
    corners = torch.tensor(vertices, dtype=torch.int64, device=like.device)[:, None].expand(-1, 3)
    return Landmarks(corners, like.new_tensor([1.0, 0.0, 0.0]).expand(len(vertices), -1))


def landmarks_of(deltas: Tensor, poses: tuple[int, ...]) -> Landmarks:
    """Landmarks of a rig with displacements (P, V, 3), from those of its poses that move a small part of the face."""
    rows = [ARKIT_POSES.index(name) for name in LANDMARKS]
    motion = deltas[[row for row in rows if row in poses]].norm(dim=-1)
    most, vertices = motion.max(dim=1) if motion.numel() else (motion.new_zeros(0), motion.new_zeros(0))
    return _at(vertices[most > STILL].long().tolist(), deltas)


def lids_of(neutral: Tensor, deltas: Tensor, poses: tuple[int, ...]) -> tuple[Landmarks, Landmarks]:
    """Landmarks on upper and on lower lids of a head (V, 3) with displacements (P, V, 3); none where none are found."""
    upper, lower = list[int](), list[int]()
    for row in (ARKIT_POSES.index("eyeBlinkLeft"), ARKIT_POSES.index("eyeBlinkRight")):
        if row not in poses:
            continue
        # Downwards: lower lids come up a little.
        top = int((-deltas[row, :, 1]).argmax())
        motion = deltas[row].norm(dim=-1)
        below = (motion < LOWER * motion[top]) & (neutral[:, 1] < neutral[top, 1])
        distance = (neutral + deltas[row] - neutral[top] - deltas[row, top]).norm(dim=-1)
        distance = torch.where(below, distance, torch.inf)
        bottom = int(distance.argmin())
        if motion[top] > STILL and distance[bottom] < NEAR:
            upper.append(top)
            lower.append(bottom)
    return _at(upper, deltas), _at(lower, deltas)
