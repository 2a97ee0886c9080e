"""Where images are taken from: cameras around a head in canonical coordinates.

Axis legend: V vertices.

Canonical coordinates (:mod:`raf_runtime.frame`) are Y up, +Z out of the face, the character's left at +X. Seen from the
front the character's left is on the right of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, radians, sin
from typing import Final

import torch
from torch import Tensor

__all__ = ["FRONT", "VIEWS", "Camera"]


@dataclass(frozen=True)
class Camera:
    """A camera that looks at a target from a distance.

    Attributes
    ----------
    azimuth, elevation : float
        Degrees that the camera has gone round the target from +Z: towards the character's left, and up.
    target : (float, float, float)
        Centre of the image.
    extent : float
        At the depth of the target, half of the image's shorter side shows so many units.
    distance : float
        From the camera to the target, in units.
    perspective : bool
        False for an orthographic image: what is behind the target is not smaller.
    """

    azimuth: float = 0.0
    elevation: float = 0.0
    target: tuple[float, float, float] = (0.0, 0.1, 0.0)
    extent: float = 3.2
    distance: float = 20.0
    perspective: bool = True

    def turned(self, vectors: Tensor) -> Tensor:
        """Turn vectors (..., 3) into the camera's axes: right, up, and towards the camera."""
        a, e = radians(self.azimuth), radians(self.elevation)
        axes = [
            [cos(a), 0.0, -sin(a)],
            [-sin(a) * sin(e), cos(e), -cos(a) * sin(e)],
            [sin(a) * cos(e), sin(e), cos(a) * cos(e)],
        ]
        return vectors @ vectors.new_tensor(axes).T

    def project(self, vertices: Tensor, size: tuple[int, int]) -> Tensor:
        """Project points to an image.

        Parameters
        ----------
        vertices : (..., V, 3) float
            Canonical coordinates.
        size : (int, int)
            H, W of the image.

        Returns
        -------
        (..., V, 3) float
            Screen coordinates, see :mod:`raf_training.rendering.fragments`.
        """
        right, up, towards = self.turned(vertices - vertices.new_tensor(self.target)).unbind(-1)
        depth = self.distance - towards
        height, width = size
        scale = min(size) / 2 / self.extent
        if self.perspective:
            scale = scale * self.distance / depth
        return torch.stack([width / 2 + scale * right, height / 2 - scale * up, depth], -1)


# A whole human head, with an open jaw; of a bust, the shoulders are cut off.
FRONT: Final = Camera()
# Around the middle of the head, not its face.
_MIDDLE: Final = Camera(target=(0.0, 0.1, -1.5), extent=3.6)
VIEWS: Final = {
    "front": FRONT,
    "left": replace(_MIDDLE, azimuth=40.0),
    "right": replace(_MIDDLE, azimuth=-40.0),
    "above": replace(_MIDDLE, elevation=25.0),
    "below": replace(_MIDDLE, elevation=-25.0),
}
