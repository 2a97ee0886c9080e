"""Poses as the paper's network is asked for them, and rigs made of its answers.

``mouthClose`` counters ``jawOpen`` and is never used without it, so it is posed as a combination of both, as the
paper poses combinations: the network is asked for the two together, and the shape of the rig is the difference
from the open jaw alone.

Axis legend: V vertices, P poses, B pose vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raf_runtime.contract import ARKIT_POSES
from raf_training.losses.displacement import on_open_jaw
from raf_training.network import RigNetwork, SurfaceTensors

__all__ = ["PosedNetwork", "pose_vectors", "posed", "predict_rig", "rows_to_pose"]

_CLOSE, _OPEN = ARKIT_POSES.index("mouthClose"), ARKIT_POSES.index("jawOpen")


def pose_vectors(rows: Sequence[int]) -> Tensor:
    """Pose vectors (B, P) float32 of the given poses."""
    vectors = torch.eye(len(ARKIT_POSES))
    vectors[_CLOSE, _OPEN] = 1
    return vectors[list(rows)]


def posed(deltas: Tensor, rows: Sequence[int]) -> Tensor:
    """Displacements (B, V, 3) that the rig (P, V, 3) has when it is posed by these pose vectors."""
    return on_open_jaw(deltas)[list(rows)]


def rows_to_pose(mask: Tensor) -> tuple[int, ...]:
    """Rows of the poses that a rig with the shapes ``mask (P,)`` can take."""
    return tuple(row for row in mask.nonzero()[:, 0].tolist() if row != _CLOSE or bool(mask[_OPEN]))


@torch.no_grad()
def predict_rig(network: RigNetwork, surface: SurfaceTensors, at_once: int = 13) -> Tensor:
    """Displacements (P, V, 3) of all poses, by either kind of network.

    Parameters
    ----------
    network : RigNetwork
    surface : SurfaceTensors
    at_once : int
        Pose vectors in one pass of a network with pose blocks.
    """
    if not network.config.pose_blocks:
        return network(surface)
    vectors = pose_vectors(range(len(ARKIT_POSES))).to(surface.positions)
    shapes = torch.cat([network(surface, some) for some in vectors.split(at_once)])
    shapes[_CLOSE] -= shapes[_OPEN]
    return shapes


class PosedNetwork(nn.Module):
    """Either kind of network, asked for pose vectors, with tensors as its arguments, as DDP wants them."""

    def __init__(self, network: RigNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, poses: Tensor, *surface: Tensor) -> Tensor:
        """Displacements (B, V, 3) of pose vectors (B, P); a linear rig's where all shapes come at once."""
        inputs = SurfaceTensors(*surface)
        if self.network.config.pose_blocks:
            return self.network(inputs, poses)
        return torch.einsum("bp,pvc->bvc", poses, self.network(inputs))
