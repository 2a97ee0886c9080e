"""2D eye closure loss: difference of the lids' apertures.

Axis legend: L pairs of landmarks, one on an upper lid and one on the lower lid below it.

With predicted landmarks u, l on upper and lower lids and true ones u', l' on the screen, in NDC units (half of the
image's shorter side is 1)::

    loss = mean_pairs |(u - l) - (u' - l')|_1

This is the relative eye closure loss of Feng et al., "Learning an Animatable Detailed 3D Face Model from In-The-Wild
Images", 2021. Unlike the distance between the lids, their difference tells closed lids from lids that cross, and is
smooth where they meet.
"""

from __future__ import annotations

from torch import Tensor

from raf_training.losses.landmark_2d import landmark_2d_loss

__all__ = ["eye_closure_2d_loss"]


def eye_closure_2d_loss(
    predicted: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], size: tuple[int, int]
) -> Tensor:
    """Compare apertures between landmarks (..., L, 2 or more) on upper and lower lids; returns a scalar.

    Parameters
    ----------
    predicted, target : (Tensor, Tensor)
        Screen coordinates (..., L, 2 or more) of the landmarks on the upper and on the lower lids.
    size : (int, int)
        H, W of the screen in pixels.
    """
    return landmark_2d_loss(predicted[0] - predicted[1], target[0] - target[1], size)
