"""Pictures of a network's poses, for TensorBoard."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.network import RigNetwork
from raf_training.posing import posed, predict_rig
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
    shapes = (predict_rig(network, head.surface).float(), head.deltas)
    return torch.cat([torch.cat([*view.images(posed(s, rows))[0]], dim=1) for s in shapes], dim=0)[None]
