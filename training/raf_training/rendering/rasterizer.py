"""A rasteriser in plain torch: the same code on the CPU and on CUDA.

Every pixel in the box around a triangle is a candidate. Those inside the triangle, or within the blur of it, are
packed into one integer each, depth above face, and a pixel's smallest integers are its nearest faces. Which faces
these are has no derivative; :func:`raf_training.rendering.fragments.fragments_at` differentiates the rest.

Axis legend: V vertices, T triangles, H rows, W columns, K faces per pixel, M candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from raf_training.rendering.boxes import EMPTY, pack, pixels_in_boxes, unpack
from raf_training.rendering.fragments import (
    Fragments,
    edge_areas,
    fragments_at,
    ndc_per_pixel,
    squares_to_boundary,
)

__all__ = ["TorchRasterizer"]

# Triangles nearer to the camera, or of no larger doubled area in NDC units, are not drawn: PyTorch3D's limits.
NEAREST: Final = 1e-8
SMALLEST_AREA: Final = 1e-8


@dataclass(frozen=True)
class TorchRasterizer:
    """The plain-torch :class:`raf_training.rendering.fragments.Rasterizer`.

    Attributes
    ----------
    faces_per_pixel : int
        K.
    """

    faces_per_pixel: int = 1

    def __call__(
        self,
        screen: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        blur: float = 0.0,
        *,
        perspective: bool = True,
    ) -> Fragments:
        """See :class:`raf_training.rendering.fragments.Rasterizer`."""
        with torch.no_grad():
            chosen = self._nearest_faces(screen, faces, size, blur, perspective)
        return fragments_at(screen, faces, chosen, blur, perspective=perspective)

    def _nearest_faces(
        self, screen: Tensor, faces: Tensor, size: tuple[int, int], blur: float, perspective: bool
    ) -> Tensor:
        """Rows (H, W, K) of the nearest triangles, or -1."""
        height, width = size
        layers = torch.full((self.faces_per_pixel, height * width), EMPTY, device=screen.device)
        for pixels, keys in _candidates(screen, faces, size, blur, perspective):
            for layer in layers[:-1]:
                before = layer.clone()
                layer.scatter_reduce_(0, pixels, keys, "amin")
                # Whatever is not the nearest, or no longer, is a candidate for the next layer.
                behind, moved = keys > layer[pixels], (before > layer).nonzero()[:, 0]
                pixels, keys = torch.cat([pixels[behind], moved]), torch.cat([keys[behind], before[moved]])
            layers[-1].scatter_reduce_(0, pixels, keys, "amin")
        return unpack(layers).T.reshape(height, width, self.faces_per_pixel)


def _candidates(
    screen: Tensor, faces: Tensor, size: tuple[int, int], blur: float, perspective: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, a part of the triangles at a time, pixels (M,) and the faces behind them (M,), packed by depth."""
    unit = ndc_per_pixel(size)
    corners = screen.double().T[:, faces.T]  # (x y depth, corner, T)
    (x0, x1, x2), (y0, y1, y2), depth = corners
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    drawn = (area.abs() * unit**2 > SMALLEST_AREA) & (depth.amin(0) >= NEAREST)
    drawn = (drawn & corners.isfinite().all(0).all(0)).nonzero()[:, 0]
    x, y, depth = corners = corners.index_select(2, drawn)
    reach = blur**0.5 / unit
    low, high = corners[:2].amin(1).T - reach, corners[:2].amax(1).T + reach
    for triangle, row, column in pixels_in_boxes(low, high, size):
        local_x = x.index_select(1, triangle) - (column + 0.5)
        local_y = y.index_select(1, triangle) - (row + 0.5)
        areas = edge_areas(local_x, local_y)
        hit = (areas >= 0).all(0) | (areas <= 0).all(0)
        if blur > 0:
            hit |= squares_to_boundary(local_x, local_y) * unit**2 < blur
        hit = hit.nonzero()[:, 0]
        triangle, areas = triangle[hit], areas.index_select(1, hit)
        weights = (areas * areas.sum(0).sign()).clamp(min=0)
        seen = depth.index_select(1, triangle)
        if perspective:
            weights = weights / seen
        seen = (weights * seen).sum(0) / weights.sum(0)
        yield row[hit] * size[1] + column[hit], pack(seen, drawn[triangle])
