"""2D displacement loss: difference of displacement images, where the neutral head is.

Axis legend: H rows, W columns.

With predicted image p, target t (see :mod:`raf_training.rendering.displacement`) and weight w of each pixel, which is
the neutral head's mask, times a confidence where the target has one::

    loss = sum w (|p_x - t_x| + |p_y - t_y|) / sum w

The paper does not say which norm; absolute differences follow outliers of optical flow less.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["displacement_2d_loss"]


def displacement_2d_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compare displacement images (..., H, W, 2) by weights (..., H, W) from 0 to 1; returns a scalar."""
    weight = weight.expand(predicted.shape[:-1])
    return (weight * (predicted - target).abs().sum(-1)).sum() / weight.sum().clamp(min=1e-6)
