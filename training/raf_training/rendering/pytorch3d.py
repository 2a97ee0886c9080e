"""PyTorch3D's rasteriser behind the protocol, where PyTorch3D can be imported.

It has no wheels in the package index. On CUDA it is fast; on the CPU it takes a hundred times as long as
:class:`raf_training.rendering.rasterizer.TorchRasterizer`, and serves as its reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import Tensor

from raf_training.errors import BackendError
from raf_training.rendering.fragments import Fragments, Rasterizer, ndc_per_pixel
from raf_training.rendering.rasterizer import TorchRasterizer

__all__ = ["PyTorch3DRasterizer", "choose_rasterizer"]


@dataclass(frozen=True)
class PyTorch3DRasterizer:
    """The :class:`raf_training.rendering.fragments.Rasterizer` of PyTorch3D.

    Attributes
    ----------
    faces_per_pixel : int
        K.

    Raises
    ------
    BackendError
        If PyTorch3D cannot be imported.
    """

    faces_per_pixel: int = 1

    def __post_init__(self) -> None:
        try:
            import_module("pytorch3d._C")
        except ImportError as error:
            raise BackendError(
                f"PyTorch3D cannot be imported ({error}); build it for this torch by its INSTALL.md, "
                "or use TorchRasterizer, which needs torch alone"
            ) from error

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
        rasterize = import_module("pytorch3d.renderer.mesh.rasterize_meshes").rasterize_meshes
        meshes = import_module("pytorch3d.structures").Meshes
        height, width = size
        # PyTorch3D has +X to the left and +Y up.
        x, y, depth = screen.unbind(1)
        centred = torch.stack([width / 2 - x, height / 2 - y], 1) * ndc_per_pixel(size)
        chosen, found_depth, barycentrics, distances = rasterize(
            meshes([torch.cat([centred, depth[:, None]], 1)], [faces]),
            image_size=size,
            blur_radius=blur,
            faces_per_pixel=self.faces_per_pixel,
            perspective_correct=perspective,
            clip_barycentric_coords=blur > 0,
        )
        return Fragments(chosen[0], barycentrics[0], found_depth[0], distances[0])


def choose_rasterizer(device: torch.device, faces_per_pixel: int = 1) -> Rasterizer:
    """PyTorch3D's rasteriser on CUDA where it is importable, else the plain-torch one."""
    if device.type == "cuda" and find_spec("pytorch3d") is not None:
        return PyTorch3DRasterizer(faces_per_pixel)
    return TorchRasterizer(faces_per_pixel)
