"""A rasteriser in plain torch: the same code on the CPU and on CUDA.

Every pixel in the box around a triangle is a candidate. Those inside the triangle, or within the blur of it, are
packed into one integer each, depth above face, and a pixel's smallest integers are its nearest faces. Which faces
these are has no derivative; :func:`raf_training.rendering.fragments.fragments_at` differentiates the rest.

Axis legend: V vertices, T triangles, H rows, W columns, K faces per pixel, M candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from raf_training.rendering.fragments import (
    Fragments,
    edge_areas,
    fragments_at,
    ndc_per_pixel,
    squares_to_boundary,
)

__all__ = ["TorchRasterizer"]

# Triangles nearer to the camera, or of no larger doubled area in NDC units, are not drawn: PyTorch3D's limits.
NEAREST, SMALLEST_AREA = 1e-8, 1e-8
# About so many candidates are looked at in one go, which bounds the memory.
AT_ONCE: Final = 1 << 18
_NOTHING: Final = torch.iinfo(torch.int64).max
_FACE_BITS: Final = 32


@dataclass(frozen=True)
class TorchRasterizer:
    """The plain-torch :class:`raf_training.rendering.fragments.Rasterizer`.

    Attributes
    ----------
    faces_per_pixel : int
        K; soft masks need several.
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
        layers = torch.full((self.faces_per_pixel, height * width), _NOTHING, device=screen.device)
        for pixels, keys in _candidates(screen, faces, size, blur, perspective):
            for layer in layers[:-1]:
                before = layer.clone()
                layer.scatter_reduce_(0, pixels, keys, "amin")
                # Whatever is not the nearest, or no longer, is a candidate for the next layer.
                behind, moved = keys > layer[pixels], (before > layer).nonzero()[:, 0]
                pixels, keys = torch.cat([pixels[behind], moved]), torch.cat([keys[behind], before[moved]])
            layers[-1].scatter_reduce_(0, pixels, keys, "amin")
        nearest = torch.where(layers == _NOTHING, -1, layers & ((1 << _FACE_BITS) - 1))
        return nearest.T.reshape(height, width, self.faces_per_pixel)


def _candidates(
    screen: Tensor, faces: Tensor, size: tuple[int, int], blur: float, perspective: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, a part of the triangles at a time, pixels (M,) and the keys (M,) of faces behind them."""
    height, width = size
    unit = ndc_per_pixel(size)
    corners = screen.double()[faces]  # (T, 3, 3)
    x, y, depth = corners.unbind(2)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    drawn = (
        (area.abs() * unit**2 > SMALLEST_AREA) & (depth.amin(1) >= NEAREST) & corners.isfinite().all(2).all(1)
    )
    # First and last pixels whose centres lie in the box around a triangle and its blur.
    reach = blur**0.5 / unit
    limit = corners.new_tensor([width, height])
    first = (corners[:, :, :2].amin(1) - reach - 0.5).ceil().clamp(min=0).minimum(limit)
    last = (corners[:, :, :2].amax(1) + reach - 0.5).floor().clamp(min=-1).minimum(limit - 1)
    extent = (last - first + 1).clamp(min=0)
    rows = (drawn & (extent.prod(1) > 0)).nonzero()[:, 0]
    x, y, depth, first, extent = x[rows], y[rows], depth[rows], first[rows].long(), extent[rows].long()

    counts = extent.prod(1)
    for part in _parts(counts):
        begin, end = part
        count = counts[begin:end]
        triangle = torch.arange(begin, end, device=screen.device).repeat_interleave(count)
        index = torch.arange(len(triangle), device=screen.device)
        index -= (count.cumsum(0) - count).repeat_interleave(count)
        across = extent[triangle, 0]
        row = index // across
        column = index - row * across + first[triangle, 0]
        row = row + first[triangle, 1]
        local_x, local_y = x[triangle] - (column[:, None] + 0.5), y[triangle] - (row[:, None] + 0.5)
        areas = edge_areas(local_x, local_y)
        hit = (areas >= 0).all(1) | (areas <= 0).all(1)
        if blur > 0:
            hit |= squares_to_boundary(local_x, local_y) * unit**2 < blur
        hit = hit.nonzero()[:, 0]
        triangle, areas = triangle[hit], areas[hit]
        weights = (areas * areas.sum(1, keepdim=True).sign()).clamp(min=0)
        d = depth[triangle]
        z = weights.sum(1) / (weights / d).sum(1) if perspective else (weights * d).sum(1) / weights.sum(1)
        key = z.float().view(torch.int32).long() << _FACE_BITS | rows[triangle]
        yield row[hit] * width + column[hit], key


def _parts(counts: Tensor) -> Iterator[tuple[int, int]]:
    """Cut triangles with so many candidates into runs of about AT_ONCE."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(AT_ONCE, total + AT_ONCE, AT_ONCE, device=counts.device)
    cuts = [0, *(torch.searchsorted(ends, marks) + 1).clamp(max=len(counts)).tolist()]
    yield from ((a, b) for a, b in pairwise(cuts) if b > a)
