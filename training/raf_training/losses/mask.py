"""Mask loss: difference of soft masks.

Axis legend: H rows, W columns.

With predicted soft mask p, target t and confidence c of each pixel (1 where it is not given)::

    loss = sum c (p - t)^2 / sum c

Squares, as in PyTorch3D's fitting of silhouettes: the paper does not say.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mask_loss"]


def mask_loss(predicted: Tensor, target: Tensor, confidence: Tensor | None = None) -> Tensor:
    """Compare masks (..., H, W), 0 to 1, optionally by a confidence (..., H, W); returns a scalar."""
    confidence = torch.ones_like(target) if confidence is None else confidence
    return (confidence * (predicted - target).square()).sum() / confidence.sum().clamp(min=1e-6)
