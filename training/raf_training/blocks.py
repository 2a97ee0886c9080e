"""What networks are made of: diffusion blocks and the encoder of the whole head.

Axis legend: V vertices, K eigenpairs, C channels, P poses, A anchors, G global channels, B pose vectors.

The backbone is DiffusionNet (Sharp, Attaiki, Crane, Ovsjanikov, "DiffusionNet: Discretization Agnostic Learning
on Surfaces", 2022); the conditional block and the global encoder follow RigAnyFace (Ma et al., NeurIPS 2025).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConditionalDiffusionBlock", "DiffusionBlock", "GlobalEncoder", "SurfaceTensors"]

# Standard deviation of a pose's first weights: 3 learns faster than 0.05, 0.5, 1 and 6 (docs/ablation.md).
POSE_START = 3.0


@dataclass(frozen=True)
class SurfaceTensors:
    """The contract's inputs of one surface, see :mod:`raf_runtime.contract`."""

    positions: Tensor  # (V, 3)
    normals: Tensor  # (V, 3)
    mass: Tensor  # (V,)
    eigenvalues: Tensor  # (K,)
    eigenvectors: Tensor  # (V, K)
    gradient_x: Tensor  # (V, K)
    gradient_y: Tensor  # (V, K)

    @cached_property
    def to_spectrum(self) -> Tensor:
        """What maps features (V, C) to their spectrum (K, C): all blocks take the same (K, V)."""
        return self.eigenvectors.T * self.mass

    def to(self, device: torch.device) -> SurfaceTensors:
        """Copy to a device."""
        return SurfaceTensors(*(getattr(self, field.name).to(device) for field in fields(self)))


class DiffusionBlock(nn.Module):
    """Diffuse each channel for its own learned time, take tangent gradients, mix per vertex; residual."""

    def __init__(self, channels: int, gradients: int) -> None:
        super().__init__()
        # Times from a few square millimetres to the whole face, so that every scale is there from the first step.
        self.log_time = nn.Parameter(torch.linspace(math.log(1e-3), math.log(1.0), channels))
        self.differentiate = nn.Linear(channels, 3 * gradients, bias=False)
        mixed = 2 * channels + gradients
        self.norm = nn.LayerNorm(mixed)
        self.mix = nn.Sequential(nn.Linear(mixed, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, x: Tensor, surface: SurfaceTensors) -> Tensor:
        """Map features (..., V, C) to features (..., V, C)."""
        return x + self.mix(self.norm(self.gathered(x, surface)))

    def gathered(self, x: Tensor, surface: SurfaceTensors) -> Tensor:
        """Gather what is mixed for each vertex: its features, diffused ones and gradients (..., V, 2 C + gradients)."""
        spectrum = surface.to_spectrum @ x  # (K, C)
        spectrum = spectrum * torch.exp(-surface.eigenvalues[:, None] * self.log_time.exp())
        diffused = surface.eigenvectors @ spectrum
        # The inner product of two channels' gradients does not change with the tangents, nor does that with a
        # gradient turned by a complex factor. Channels are mapped in the spectrum, where there are K, not V, of them.
        plain, real, imaginary = self.differentiate(spectrum).chunk(3, dim=-1)
        x_axis, y_axis = surface.gradient_x, surface.gradient_y
        # (x + iy)(real + i imaginary), in three products instead of four.
        shared = (x_axis + y_axis) @ real
        turned_x = shared - y_axis @ (real + imaginary)
        turned_y = shared + x_axis @ (imaginary - real)
        gradients = torch.tanh((x_axis @ plain) * turned_x + (y_axis @ plain) * turned_y)
        return torch.cat([x, diffused, gradients], dim=-1)


class ConditionalDiffusionBlock(nn.Module):
    """A diffusion block whose output is fused with a pose vector and a global vector."""

    def __init__(self, channels: int, gradients: int, poses: int, pooled: int) -> None:
        super().__init__()
        self.diffusion = DiffusionBlock(channels, gradients)
        told = nn.Linear(channels + poses + pooled, channels)
        self.fuse = nn.Sequential(told, nn.ReLU(), nn.Linear(channels, channels))
        # One entry of a pose vector is on: the usual start, made for as many inputs as there are, is too small for it,
        # and a network looks the same in all poses for thousands of steps.
        nn.init.normal_(told.weight[:, channels : channels + poses], std=POSE_START)

    def forward(self, x: Tensor, condition: Tensor, surface: SurfaceTensors) -> Tensor:
        """Map features (V, C) or (B, V, C) and conditions (B, P + G) to features (B, V, C)."""
        x = self.diffusion(x, surface)
        copied = condition[:, None].expand(-1, x.shape[-2], -1)
        return x + self.fuse(torch.cat([x.expand(len(condition), -1, -1), copied], dim=-1))


class GlobalEncoder(nn.Module):
    """Looks at the whole neutral head: a vector for all vertices, and anchors on the surface.

    It carries information between disconnected parts, which diffusion cannot.
    """

    def __init__(self, inputs: int, channels: int, gradients: int, blocks: int, anchors: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, channels)
        self.blocks = nn.ModuleList(DiffusionBlock(channels, gradients) for _ in range(blocks))
        self.attend = nn.Linear(channels, anchors) if anchors else None

    def forward(self, features: Tensor, surface: SurfaceTensors) -> tuple[Tensor, Tensor]:
        """Map features (V, F) to the global vector (G,) and anchors (A, 3)."""
        x = self.embed(features)
        for block in self.blocks:
            x = block(x, surface)
        pooled = (surface.mass / surface.mass.sum()) @ x
        if self.attend is None:
            return pooled, surface.positions[:0]
        # Weighting by area keeps the anchors where they are when a region is sampled more densely.
        attention = functional.softmax(self.attend(x) + surface.mass.log()[:, None], dim=0)
        # ONNX Runtime's softmax over 60,000 vertices in single precision sums to 1 within 1e-5 only, which is as much
        # as all else is off; a product sums better, and takes that out again.
        summed = attention.T @ functional.pad(surface.positions, (0, 1), value=1.0)
        return pooled, summed[:, :3] / summed[:, 3:]
