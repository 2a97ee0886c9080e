"""Pictures of a network's poses, for TensorBoard."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_training.network import RigNetwork
from raf_training.posing import PosedNetwork, pose_vectors, posed
from raf_training.stages.heads import StageHead
from raf_training.stages.views import FrontView

__all__ = ["pose_sheet"]

SHOWN: Final = ("jawOpen", "mouthSmileLeft", "mouthPucker", "eyeBlinkLeft", "browInnerUp")


@torch.no_grad()
def pose_sheet(network: RigNetwork, head: StageHead, resolution: int) -> Tensor:
    """Grey image (1, H, W) of a rigged head in a few poses: predicted above, true below."""
    rows = [row for row in map(ARKIT_POSES.index, SHOWN) if row in head.poses] or list(head.poses[:1])
    view = FrontView(head.surface.positions, head.faces, resolution)
    assert head.deltas is not None
    inputs = (getattr(head.surface, name) for name in INPUTS)
    moved = PosedNetwork(network)(pose_vectors(rows).to(head.faces.device), *inputs)
    shown = (moved, posed(head.deltas, rows))
    return torch.cat([torch.cat([*view.images(d)[0]], dim=1) for d in shown], dim=0)[None]
