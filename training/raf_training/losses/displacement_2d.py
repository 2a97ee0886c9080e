"""2D displacement loss: difference of displacement images, where the neutral head is.

Axis legend: H rows, W columns.

With predicted image p, target t (see :mod:`raf_training.rendering.displacement`) and weight w of each pixel, which is
the neutral head's mask, times a confidence where the target has one::

    loss = sum w (sqrt(|p - t|^2 + b^2) - b) / sum w

The paper does not say which norm. Distances follow outliers of optical flow less than squares; below b, the hundredth
part of the image, they are squared, for by plain distances not moving at all is the best answer of a network that does
not know yet which part of a pose is where, and it stays there.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["displacement_2d_loss"]

# b. Displacement images are half of the motion in shares of the image's height and width.
ROUND = 0.01


def displacement_2d_loss(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Compare displacement images (..., H, W, 2) by weights (..., H, W) from 0 to 1; returns a scalar."""
    weight = weight.expand(predicted.shape[:-1])
    distance = ((predicted - target).square().sum(-1) + ROUND**2).sqrt() - ROUND
    return (weight * distance).sum() / weight.sum().clamp(min=1e-6)
