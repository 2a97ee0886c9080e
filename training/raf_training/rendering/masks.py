"""Masks: where the head is in an image.

Axis legend: H rows, W columns, K faces per pixel.

The soft mask is the silhouette of Liu et al., "Soft Rasterizer: A Differentiable Renderer for Image-based 3D
Reasoning", 2019, over the signed squared distances d_k of the K faces behind a pixel::

    mask = 1 - prod_k (1 - sigmoid(-d_k / sigma))

Each face votes with its own boundary, also where a neighbour covers the rest: K has to hold the faces within about
``sqrt(sigma)`` of a pixel.
"""

from __future__ import annotations

from math import log
from typing import Final

import torch
from torch import Tensor

from raf_training.rendering.fragments import Fragments

__all__ = ["SIGMA", "blur_of", "hard_mask", "soft_mask"]

# In squared NDC units: half of the mask's edge is 0.01 wide, 2.6 pixels of 512.
SIGMA: Final = 1e-4
# A face that would vote with less than this is not looked for.
FAINTEST: Final = 1e-4


def blur_of(sigma: float = SIGMA) -> float:
    """The blur to rasterise with for a soft mask."""
    return log(1 / FAINTEST - 1) * sigma


def soft_mask(fragments: Fragments, sigma: float = SIGMA) -> Tensor:
    """Soft silhouette (H, W), 0 to 1, of fragments that were rasterised with ``blur_of(sigma)``."""
    votes = torch.sigmoid(fragments.distances / sigma)  # against a face, from 0.5 at its boundary
    return 1 - torch.where(fragments.faces >= 0, votes, 1.0).prod(-1)


def hard_mask(fragments: Fragments) -> Tensor:
    """1 where a face covers the pixel's centre, else 0, (H, W); it has no gradient."""
    return fragments.covered.to(fragments.depth.dtype)
