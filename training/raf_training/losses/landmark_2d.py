"""2D landmark loss: distance of projected landmarks.

Axis legend: V vertices, L landmarks.

With predicted landmarks p and true ones t on the screen, in NDC units (half of the image's shorter side is 1)::

    loss = mean_l |p_lx - t_lx| + |p_ly - t_ly|
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from raf_training.rendering.fragments import ndc_per_pixel

__all__ = ["Landmarks", "landmark_2d_loss"]


@dataclass(frozen=True)
class Landmarks:
    """Points on the surface of one rig.

    Attributes
    ----------
    corners : (L, 3) int64
        Vertices around each landmark.
    weights : (L, 3) float
        Barycentric coordinates; rows sum to 1. A landmark at a vertex has (1, 0, 0).
    """

    corners: Tensor
    weights: Tensor

    def on(self, vertices: Tensor) -> Tensor:
        """Landmarks (..., L, C) of vertices (..., V, C), on the screen or in space."""
        at_corners = vertices.index_select(-2, self.corners.flatten())
        shape = (*vertices.shape[:-2], *self.corners.shape, vertices.shape[-1])
        return (self.weights[:, :, None] * at_corners.view(shape)).sum(-2)


def landmark_2d_loss(predicted: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
    """Compare landmarks (..., L, 2 or more) on a screen of H, W pixels by their x and y; returns a scalar."""
    return ndc_per_pixel(size) * (predicted - target)[..., :2].abs().sum(-1).mean()
