"""Supervision of the anchors: each marks the place that one pose moves.

Axis legend: P poses, V vertices, M marks.

With area m_v and true displacement t_pv of vertex v at x_v, pose p happens at::

    c_p = sum_v m_v |t_pv|^2 x_v / sum_v m_v |t_pv|^2

and the loss is the mean distance of the first M anchors from the centres of their poses, over the poses that the rig
has and that move anything. So landmarks need no annotation: any rig says where its own brows and lip corners are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.network import SurfaceTensors

__all__ = ["anchor_loss", "motion_centres"]


def motion_centres(surface: SurfaceTensors, deltas: Tensor) -> tuple[Tensor, Tensor]:
    """Centres (P, 3) of the motion of shapes (P, V, 3), and whether (P,) each moves anything."""
    energy = surface.mass * deltas.square().sum(-1)
    total = energy.sum(1)
    return energy @ surface.positions / total.clamp(min=1e-12)[:, None], total > 1e-9


def anchor_loss(
    anchors: Tensor, marks: tuple[str, ...], surface: SurfaceTensors, deltas: Tensor, mask: Tensor
) -> Tensor:
    """Compare anchors (A, 3) with the motion of the poses that they mark; returns a scalar."""
    rows = torch.tensor([ARKIT_POSES.index(name) for name in marks], device=anchors.device)
    centres, moving = motion_centres(surface, deltas[rows])
    known = mask[rows] & moving
    distance = (anchors[: len(marks)] - centres).norm(dim=-1)
    return (distance * known).sum() / known.sum().clamp(min=1)
