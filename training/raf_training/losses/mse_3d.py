"""3D mean squared error of displacements.

Axis legend: V vertices.

With predicted displacements d and true ones t, in canonical units, over all vertices v and axes i::

    loss = mean_vi (d_vi - t_vi)^2
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["mse_3d_loss"]


def mse_3d_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Compare displacements (..., V, 3); returns a scalar."""
    return (predicted - target).square().mean()
