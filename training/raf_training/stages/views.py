"""A head from the front: what the losses compare and what the animator sees.

Axis legend: V vertices, T triangles, B poses, R rows and columns.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from raf_training.rendering.cameras import FRONT
from raf_training.rendering.displacement import displacement_image
from raf_training.rendering.fragments import Fragments
from raf_training.rendering.masks import hard_mask, soft_mask
from raf_training.rendering.rasterizer import TorchRasterizer
from raf_training.rendering.shading import depth_image, normal_image, shaded_image

__all__ = ["FrontView"]


class FrontView:
    """One neutral head, R x R pixels from the front.

    Parameters
    ----------
    neutral : (V, 3) float
        Canonical coordinates.
    faces : (T, 3) int64
    resolution : int
    """

    def __init__(self, neutral: Tensor, faces: Tensor, resolution: int) -> None:
        self._neutral, self._faces, self._size = neutral, faces, (resolution, resolution)
        self._screen = FRONT.project(neutral, self._size)

    @cached_property
    def _fragments(self) -> Fragments:
        return TorchRasterizer()(self._screen, self._faces, self._size, perspective=FRONT.perspective)

    @cached_property
    def mask(self) -> Tensor:
        """Where (R, R) the neutral head is, 0 or 1."""
        return hard_mask(self._fragments)

    def pictures(self) -> Tensor:
        """Mask, shaded image, depth and normal of the neutral head, (6, R, R)."""
        shown = self._fragments, self._neutral, self._faces, FRONT
        depth = depth_image(self._fragments, FRONT) / FRONT.extent
        normal = normal_image(*shown).permute(2, 0, 1)
        return torch.cat([torch.stack([self.mask, shaded_image(*shown), depth]), normal])

    def displacement(self, moved: Tensor) -> Tensor:
        """The paper's 2D displacement (B, R, R, 2) of displacements (B, V, 3)."""
        deformed = FRONT.project(self._neutral + moved, self._size)
        return torch.stack(
            [displacement_image(self._fragments, self._faces, self._screen, d) for d in deformed]
        )

    def images(self, moved: Tensor, *, soft: bool = True) -> tuple[Tensor, Tensor]:
        """Shaded images (B, R, R) of displacements (B, V, 3), and masks (B, R, R) with soft edges or hard ones."""
        images, masks = list[Tensor](), list[Tensor]()
        for vertices in self._neutral + moved:
            screen = FRONT.project(vertices, self._size)
            fragments = TorchRasterizer()(screen, self._faces, self._size, perspective=FRONT.perspective)
            images.append(shaded_image(fragments, vertices, self._faces, FRONT))
            masks.append(soft_mask(fragments, screen, self._faces) if soft else hard_mask(fragments))
        return torch.stack(images), torch.stack(masks)

    def points(self, moved: Tensor) -> Tensor:
        """Screen coordinates (B, V, 3), in pixels, of displacements (B, V, 3)."""
        return FRONT.project(self._neutral + moved, self._size)
