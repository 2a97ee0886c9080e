"""What images show: shaded surfaces, depth and normals, all written on fragments.

Axis legend: V vertices, T triangles, H rows, W columns.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from raf_training.rendering.cameras import Camera
from raf_training.rendering.fragments import Fragments, interpolate

__all__ = ["depth_image", "normal_image", "shaded_image", "vertex_normals"]

# Light from above and from the camera's left, in the camera's axes: the sides of a nose differ.
LIGHT: Final = (-0.4, 0.5, 0.77)
AMBIENT: Final = 0.25


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals (V, 3) of a mesh with vertices (V, 3) and faces (T, 3)."""
    a, b, c = vertices.index_select(0, faces.flatten()).view(-1, 3, 3).unbind(1)
    area_vectors = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(vertices).index_add(0, faces.flatten(), area_vectors.repeat_interleave(3, 0))
    return functional.normalize(sums, dim=1, eps=1e-12)


def normal_image(fragments: Fragments, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Unit normals of what is nearest, turned towards the camera.

    Parameters
    ----------
    fragments : Fragments
        Of the same mesh, seen by the same camera.
    vertices : (V, 3) float
    faces : (T, 3) int64
    camera : Camera

    Returns
    -------
    (H, W, 3) float
        In the camera's axes (right, up, towards the camera); 0 where there is no face.
    """
    normals = interpolate(fragments, faces, camera.turned(vertex_normals(vertices, faces)))[:, :, 0]
    normals = functional.normalize(normals, dim=2, eps=1e-12)
    return torch.where(normals[:, :, 2:].detach() < 0, -normals, normals)


def shaded_image(fragments: Fragments, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Grey Lambert shading (H, W), 0 to 1, of what is nearest; 0 where there is no face. See `normal_image`."""
    normals = normal_image(fragments, vertices, faces, camera)
    light = functional.normalize(normals.new_tensor(LIGHT), dim=0)
    shade = AMBIENT + (1 - AMBIENT) * (normals @ light).clamp(min=0)
    return shade * (fragments.faces[:, :, 0] >= 0)


def depth_image(fragments: Fragments, camera: Camera) -> Tensor:
    """How far what is nearest lies in front of the camera's target, in units (H, W); 0 where there is no face."""
    nearest = fragments.depth[:, :, 0]
    return torch.where(fragments.faces[:, :, 0] >= 0, camera.distance - nearest, torch.zeros_like(nearest))
