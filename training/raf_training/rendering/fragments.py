"""What a rasteriser finds behind each pixel, and what is computed from it.

Axis legend: V vertices, T triangles, H rows, W columns, K faces per pixel, C channels, N hits.

*Screen* coordinates are ``(x, y, depth)``: x to the right and y down in pixels, the centre of the pixel in row i and
column j at ``(j + 0.5, i + 0.5)``; depth along the view axis, positive in front of the camera, in scene units.
*NDC* units measure distances on the screen: half of the image's shorter side is 1, as in PyTorch3D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "Fragments",
    "Rasterizer",
    "edge_areas",
    "fragments_at",
    "interpolate",
    "ndc_per_pixel",
    "squares_to_boundary",
]


@dataclass(frozen=True)
class Fragments:
    """The K nearest faces behind each pixel, nearest first; differentiable in the screen coordinates.

    Attributes
    ----------
    faces : (H, W, K) int64
        Rows of the triangles, -1 where there are fewer.
    barycentrics : (H, W, K, 3) float
        Of the point in space that is seen (perspective-correct). With a blur, negative ones are 0: a pixel outside a
        face sees a point on its boundary. -1 where there is no face.
    depth : (H, W, K) float
        Depth of that point; -1 where there is no face.
    distances : (H, W, K) float
        Squared distance on the screen to the face's boundary in NDC units, negative inside the face; -1 where there
        is no face.
    """

    faces: Tensor
    barycentrics: Tensor
    depth: Tensor
    distances: Tensor

    @property
    def covered(self) -> Tensor:
        """Whether (H, W) bool a face covers the pixel's centre: with a blur, a face may be there that does not."""
        return ((self.faces >= 0) & (self.distances <= 0)).any(-1)


class Rasterizer(Protocol):
    """Finds the faces behind the pixels of an image."""

    def __call__(
        self,
        screen: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        blur: float = 0.0,
        *,
        perspective: bool = True,
    ) -> Fragments:
        """Rasterise a mesh, both sides of its triangles.

        Triangles with a vertex behind the camera and those without an area on the screen are not drawn.

        Parameters
        ----------
        screen : (V, 3) float
            x, y in pixels, and depth.
        faces : (T, 3) int64
        size : (int, int)
            H, W.
        blur : float
            A face also counts for pixels outside it whose squared distance to it, in NDC units, is less than this.
        perspective : bool
            Whether x and y were divided by depth; barycentrics are then corrected for it.

        Returns
        -------
        Fragments
        """
        ...


def ndc_per_pixel(size: tuple[int, int]) -> float:
    """Length of a pixel's side in NDC units, in an image of H, W pixels."""
    return 2 / min(size)


def edge_areas(x: Tensor, y: Tensor) -> Tensor:
    """Doubled signed areas (3, N) that the origin spans with the edges opposite the corners x, y (3, N)."""
    (x0, x1, x2), (y0, y1, y2) = x, y
    # Written so that the two triangles of an edge get exactly opposite values: no pixel falls between them.
    return torch.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0])


def squares_to_boundary(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (N,) of the origin from the boundary of triangles with corners x, y (3, N)."""
    edge_x, edge_y = x.roll(-1, 0) - x, y.roll(-1, 0) - y
    length = (edge_x.square() + edge_y.square()).clamp(min=torch.finfo(x.dtype).tiny)
    along = (-(x * edge_x + y * edge_y) / length).clamp(0, 1)
    return ((x + along * edge_x).square() + (y + along * edge_y).square()).amin(0)


def fragments_at(
    screen: Tensor, faces: Tensor, chosen: Tensor, blur: float = 0.0, *, perspective: bool = True
) -> Fragments:
    """Describe faces that are known to lie behind the pixels, differentiably.

    Parameters
    ----------
    screen : (V, 3) float
    faces : (T, 3) int64
    chosen : (H, W, K) int64
        Rows of triangles, or -1.
    blur, perspective
        See :class:`Rasterizer`.

    Returns
    -------
    Fragments
    """
    height, width, _ = chosen.shape
    hits = (chosen >= 0).nonzero(as_tuple=True)
    row, column, _ = hits
    # In float64, in which slivers keep some digits of their areas.
    corners = screen.index_select(0, faces[chosen[hits]].T.flatten()).double().view(3, -1, 3)
    x, y, depth = corners[:, :, 0] - (column + 0.5), corners[:, :, 1] - (row + 0.5), corners[:, :, 2]
    areas = edge_areas(x, y)
    inside = (areas >= 0).all(0) | (areas <= 0).all(0)
    weights = areas * areas.detach().sum(0).sign()
    if blur > 0:
        weights = weights.clamp(min=0)
    if perspective:
        weights = weights / depth
    weights = weights / weights.sum(0)
    squares = squares_to_boundary(x, y) * ndc_per_pixel((height, width)) ** 2

    def image(values: Tensor) -> Tensor:
        empty = screen.new_full((*chosen.shape, *values.shape[1:]), -1.0)
        return empty.index_put(hits, values.to(screen.dtype))

    return Fragments(
        chosen,
        image(weights.T),
        image((weights * depth).sum(0)),
        image(torch.where(inside, -squares, squares)),
    )


def interpolate(fragments: Fragments, faces: Tensor, values: Tensor) -> Tensor:
    """Interpolate values at the vertices over the faces that are seen.

    Parameters
    ----------
    fragments : Fragments
    faces : (T, 3) int64
    values : (V, C) float

    Returns
    -------
    (H, W, K, C) float
        0 where there is no face. Differentiable in the values and in the fragments.
    """
    hits = (fragments.faces >= 0).nonzero(as_tuple=True)
    corners = faces[fragments.faces[hits]]  # (N, 3)
    at_corners = values.index_select(0, corners.flatten()).view(*corners.shape, -1)
    seen = (fragments.barycentrics[hits][:, :, None] * at_corners).sum(1)
    return seen.new_zeros((*fragments.faces.shape, values.shape[1])).index_put(hits, seen)
