"""Image loss: difference of shaded images.

Axis legend: H rows, W columns.

With predicted image p, target t and confidence c of each pixel (1 where it is not given)::

    loss = sum c |p - t| / sum c

The paper does not say which norm; absolute differences follow a few wrong pixels of an animated target less.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["image_loss"]


def image_loss(predicted: Tensor, target: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Compare images (..., H, W), 0 to 1, optionally by a confidence (..., H, W); returns a scalar."""
    confidence = torch.ones_like(target) if confidence is None else confidence
    return (confidence * (predicted - target).abs()).sum() / confidence.sum().clamp(min=1e-6)
