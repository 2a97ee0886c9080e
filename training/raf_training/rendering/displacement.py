"""The 2D displacement of a deformation (Ma et al., "RigAnyFace", NeurIPS 2025).

Axis legend: V vertices, T triangles, H rows, W columns.

Neutral and deformed vertices are projected by one camera. Half of their difference on the screen, in shares of the
image's width and height, plus 0.5 is a colour of two channels, with which the *neutral* mesh is drawn.
"""

from __future__ import annotations

from torch import Tensor

from raf_training.rendering.fragments import Fragments, interpolate

__all__ = ["STILL", "displacement_image"]

# The colour of what does not move, and of what is beside the head.
STILL = 0.5


def displacement_image(fragments: Fragments, faces: Tensor, neutral: Tensor, deformed: Tensor) -> Tensor:
    """Draw how far each visible point of the neutral head moves on the screen.

    Parameters
    ----------
    fragments : Fragments
        Of the neutral mesh.
    faces : (T, 3) int64
    neutral, deformed : (V, 3) float
        Screen coordinates by the same camera.

    Returns
    -------
    (H, W, 2) float
        Right and down; 0.5 where nothing moves and where there is no head. Differentiable in ``deformed``.
    """
    height, width = fragments.faces.shape[:2]
    shares = (deformed - neutral)[:, :2] / neutral.new_tensor([width, height])
    return STILL + 0.5 * interpolate(fragments, faces, shares)[:, :, 0]
