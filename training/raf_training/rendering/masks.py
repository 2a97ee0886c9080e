"""Masks: where the head is in an image.

Axis legend: V vertices, T triangles, E edges, H rows, W columns, B pixels near the outline.

With the signed distance s of a pixel's centre from the outline of the head, positive inside, the soft mask is::

    mask = u^2 (3 - 2 u),  u = clamp(1/2 + s / (2 r), 0, 1)

so it rises from 0 to 1 within r of the outline, on both sides of it. The outline consists of the edges that have all of
their faces on one side, and background on the other. It is found here: in a mesh whose triangles are as small as
pixels, no face knows it. (Soft masks that join the distances of the K nearest faces, as Liu et al., "Soft Rasterizer",
2019, were transparent all over on such meshes, and took seconds.)
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from raf_training.rendering.boxes import EMPTY, pack, pixels_in_boxes, unpack
from raf_training.rendering.fragments import Fragments, ndc_per_pixel

__all__ = ["SOFTNESS", "hard_mask", "soft_mask"]

# In NDC units: 2 pixels of 128, 8 of 512.
SOFTNESS: Final = 0.03


def hard_mask(fragments: Fragments) -> Tensor:
    """1 where a face covers the pixel's centre, else 0, (H, W); it has no gradient."""
    return fragments.covered.to(fragments.depth.dtype)


def soft_mask(fragments: Fragments, screen: Tensor, faces: Tensor, softness: float = SOFTNESS) -> Tensor:
    """Draw a mask with a soft edge, differentiable in the screen coordinates.

    Parameters
    ----------
    fragments : Fragments
        Of the mesh, without a blur.
    screen : (V, 3) float
    faces : (T, 3) int64
    softness : float
        r, in NDC units.

    Returns
    -------
    (H, W) float
        0 to 1.
    """
    mask = hard_mask(fragments)
    size = (mask.shape[0], mask.shape[1])
    reach = softness / ndc_per_pixel(size)
    with torch.no_grad():
        edges = _folds(screen, faces)
        nearest = _nearest_edges(screen[:, :2].double(), edges, mask, reach)
    pixels = (nearest >= 0).nonzero(as_tuple=True)
    ends = screen[:, :2].index_select(0, edges[nearest[pixels]].flatten()).double().view(-1, 2, 2)
    distance = _from_edges(ends[:, 0], ends[:, 1], *pixels)[0].clamp(min=1e-12).sqrt()
    inside = mask[pixels] > 0
    u = (0.5 + torch.where(inside, distance, -distance) / (2 * reach)).clamp(0, 1)
    return mask.index_put(pixels, (u.square() * (3 - 2 * u)).to(mask.dtype))


def _folds(screen: Tensor, faces: Tensor) -> Tensor:
    """Edges (E, 2) that have all of their faces on one side."""
    start, end, other = faces.flatten(), faces.roll(-1, 1).flatten(), faces.roll(1, 1).flatten()
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    order = (low * len(screen) + high).sort(stable=True)
    edges, edge = order[0].unique_consecutive(return_inverse=True)
    low, high, other = low[order[1]], high[order[1]], other[order[1]]
    x, y = screen[:, 0].double(), screen[:, 1].double()
    side = (x[high] - x[low]) * (y[other] - y[low]) - (x[other] - x[low]) * (y[high] - y[low])
    sides = side.new_zeros(2, len(edges))
    sides[0].scatter_reduce_(0, edge, side, "amin")
    sides[1].scatter_reduce_(0, edge, side, "amax")
    edges = edges[(sides != 0).sum(0) == 1]
    return torch.stack([edges // len(screen), edges % len(screen)], 1)


def _from_edges(start: Tensor, end: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (M,) of pixels from edges with ends (M, 2), and the nearest points (M, 2) of these."""
    pixel = torch.stack([column, row], 1) + 0.5
    edge = end - start
    length = edge.square().sum(1).clamp(min=torch.finfo(start.dtype).tiny)
    along = (((pixel - start) * edge).sum(1) / length).clamp(0, 1)
    point = start + along[:, None] * edge
    return (pixel - point).square().sum(1), point


def _nearest_edges(points: Tensor, edges: Tensor, mask: Tensor, reach: float) -> Tensor:
    """Rows (H, W) of the outline's nearest edge, if it is within reach, else -1."""
    height, width = mask.shape
    around = mask[None, None]
    # Pixels that have both head and background around them.
    outline = functional.max_pool2d(around, 3, 1, 1) + functional.max_pool2d(-around, 3, 1, 1) > 0
    outline = outline[0, 0]
    start, end = points[edges].unbind(1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    rows = ((start + end).isfinite().all(1) & _any_in_boxes(outline, low, high)).nonzero()[:, 0]
    start, end, low, high = start[rows], end[rows], low[rows] - reach, high[rows] + reach
    nearest = torch.full((height * width,), EMPTY, device=mask.device)
    for edge, row, column in pixels_in_boxes(low, high, (height, width)):
        squares, point = _from_edges(start[edge], end[edge], row, column)
        x, y = point.floor().long().unbind(1)
        hit = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (squares < reach**2)
        hit = hit.nonzero()[:, 0]
        hit = hit[outline[y[hit], x[hit]]]
        pixel = row[hit] * width + column[hit]
        nearest.scatter_reduce_(0, pixel, pack(squares[hit], rows[edge[hit]]), "amin")
    return unpack(nearest).view(height, width)


def _any_in_boxes(marks: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Whether (N,) boxes with corners low, high (N, 2) touch a marked pixel (H, W)."""
    height, width = marks.shape
    table = functional.pad(marks.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    limit = low.new_tensor([width, height])
    left, top = low.nan_to_num().floor().clamp(min=0).minimum(limit).long().T
    right, bottom = (high.nan_to_num().floor() + 1).clamp(min=0).minimum(limit).long().T
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left] > 0
