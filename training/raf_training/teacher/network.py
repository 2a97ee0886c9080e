"""A U-Net from pictures of a neutral head and a pose vector to the picture of the pose, its mask and the displacement.

Ronneberger, Fischer and Brox, "U-Net" (2015), at half the resolution of its pictures; the pose scales and shifts the
channels of every level (Perez et al., "FiLM", 2018).

Axis legend: B pictures, P poses, C channels, H x W pixels (multiples of 16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from raf_runtime.contract import ARKIT_POSES

__all__ = ["PICTURES", "Drawing", "TeacherConfig", "TeacherNetwork"]

# What it sees of a neutral head, channel by channel: mask, shaded image, depth, normal (x, y, z).
PICTURES: Final = 6
# Displacements are a few hundredths of the image.
_MOTION: Final = 0.05


@dataclass(frozen=True)
class TeacherConfig:
    """Sizes: height and width of pictures, channels of the finest of four levels, hidden units of the pose."""

    resolution: int = 96
    width: int = 16
    hidden: int = 64


@dataclass(frozen=True)
class Drawing:
    """What the network says of B poses.

    Attributes
    ----------
    image : (B, H, W) float32
    mask_logit : (B, H, W) float32
    displacement : (B, H, W, 2) float32
        At pixels of the neutral head, right and down, in shares of the image.
    """

    image: Tensor
    mask_logit: Tensor
    displacement: Tensor


class _Level(nn.Module):
    """Two convolutions, conditioned on the pose in between."""

    def __init__(self, inputs: int, channels: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.norm = nn.GroupNorm(4, channels)
        self.film = nn.Linear(hidden, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, pose: Tensor) -> Tensor:
        """Map (B, C, H, W) and a pose's code (B, hidden) to (B, C, H, W)."""
        scale, shift = self.film(pose)[:, :, None, None].chunk(2, dim=1)
        x = functional.silu(self.norm(self.first(x)) * (1 + scale) + shift)
        return functional.silu(self.second(x))


class TeacherNetwork(nn.Module):
    """From pictures of neutral heads and pose vectors to :class:`Drawing`."""

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        w, hidden = config.width, config.hidden
        self.pose = nn.Sequential(nn.Linear(len(ARKIT_POSES), hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        # Whose left is left must be told: a convolution does not know where it is.
        self.stem = nn.Conv2d(PICTURES + 2, w, 4, stride=2, padding=1)
        widths = (w, 2 * w, 4 * w, 4 * w)
        self.down = nn.ModuleList(
            _Level(inputs, channels, hidden)
            for inputs, channels in zip((w, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _Level(below + beside, beside, hidden)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.draw = nn.Conv2d(w, 4 * 4, 3, padding=1)
        # At first no pose changes anything.
        nn.init.zeros_(self.draw.weight)
        nn.init.zeros_(self.draw.bias if self.draw.bias is not None else torch.empty(0))

    def forward(self, pictures: Tensor, pose: Tensor) -> Drawing:
        """Draw poses.

        Parameters
        ----------
        pictures : (B, 6, H, W) float32
            Of the neutral heads: mask, shaded image, depth, normal.
        pose : (B, P) float32
        """
        rows = torch.linspace(-1, 1, pictures.shape[2]).to(pictures)
        place = torch.stack(torch.meshgrid(rows, rows, indexing="ij")).expand(len(pictures), -1, -1, -1)
        x, code = self.stem(torch.cat([pictures, place], dim=1)), self.pose(pose)
        beside: list[Tensor] = []
        for number, level in enumerate(self.down):
            x = level(functional.avg_pool2d(x, 2) if number else x, code)
            beside.append(x)
        for level, other in zip(self.up, beside[-2::-1], strict=True):
            x = level(torch.cat([functional.interpolate(x, scale_factor=2.0), other], dim=1), code)
        drawn = functional.pixel_shuffle(self.draw(x), 2)  # (B, 4, H, W)
        mask, image = pictures[:, 0], pictures[:, 1]
        return Drawing(
            image=image + drawn[:, 0],
            mask_logit=8 * (mask - 0.5) + drawn[:, 1],
            displacement=_MOTION * drawn[:, 2:].permute(0, 2, 3, 1),
        )
