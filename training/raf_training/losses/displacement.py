"""3D supervision: distance between predicted and true displacements.

Axis legend: P poses, V vertices.

For pose p with predicted displacements d and true ones t::

    loss_p = mean_v sqrt(|d - t|^2 + e^2) / (mean_v |t| + c)^a + b mean_v |d - t|^2 / (mean_v |t|^2 + c2)

and the loss is the mean over the poses that the rig has. The distance of the first term is not squared, because rigs
of one family disagree strongly at few vertices (lip corners, lashes) and the figure that counts is a mean distance.
Dividing by a power of the motion lets brows and lids count beside an open jaw: with the square root, and without the
second term, brows and blinks were still at 0.4 to 0.6 of their motion when mouth shapes were at 0.15. With 0.75 a sixth
of what was left on ICT in the end was ``jawOpen`` and ``mouthClose``.

While a network does not know where a small shape begins, not moving at all is the best answer by mean distance: after
5,000 steps with the first term alone, browDownLeft had a cosine of 0.91 with the truth and browDownRight 0.16. The
squared second term has no such resting place, and fades as the error falls.

``mouthClose`` counters ``jawOpen`` and is never used without it: both are compared on top of the open jaw.
"""

from __future__ import annotations

import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES

__all__ = ["SMOOTH", "displacement_loss", "on_open_jaw", "pose_weights"]

_CLOSE, _OPEN = ARKIT_POSES.index("mouthClose"), ARKIT_POSES.index("jawOpen")
# In canonical units (about 38 mm): rounding of the distance near zero, and motion below which a pose counts less.
SMOOTH, STILL = 1e-3, 1e-3
POWER = 0.6
# Weight of the squared term, and the mean squared motion below which a pose counts less in it.
SQUARED, STILL_SQUARED = 0.3, 2e-5


def on_open_jaw(displacements: Tensor) -> Tensor:
    """Replace ``mouthClose`` in displacements (P, V, 3) by its sum with ``jawOpen``."""
    result = displacements.clone()
    result[_CLOSE] += displacements[_OPEN]
    return result


def displacement_loss(predicted: Tensor, target: Tensor, mask: Tensor, there: Tensor | None = None) -> Tensor:
    """Compare displacements (P, V, 3); returns a scalar.

    Only poses count where ``mask (P,)`` is true, and vertices where ``there (V,)`` is, by default all.
    """
    target = on_open_jaw(target)
    squares = (on_open_jaw(predicted) - target).square().sum(-1)
    shares = torch.ones_like(squares[0]) if there is None else there.to(squares.dtype)
    shares = shares / shares.sum()
    of_distance, of_square = pose_weights(target, mask, shares)
    return of_distance @ ((squares + SMOOTH**2).sqrt() @ shares) + of_square @ (squares @ shares)


def pose_weights(target: Tensor, mask: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (P,) of distances and of their squares, each a mean over the vertices, in the loss of a head.

    Of ``mouthClose`` the target (P, V, 3) is on top of the open jaw. ``mask (P,)`` says which poses count, or how much;
    ``shares (V,)`` of the vertices sum to one.
    """
    energy = target.square().sum(-1)
    of_distance = 1 / (energy.sqrt() @ shares + STILL) ** POWER
    of_square = SQUARED / (energy @ shares + STILL_SQUARED)
    present = mask.to(energy.dtype) / mask.sum()
    return of_distance * present, of_square * present
