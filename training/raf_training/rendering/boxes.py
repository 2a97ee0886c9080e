"""Pixels near many small things on the screen.

Axis legend: N things, M pixels of their boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

__all__ = ["EMPTY", "pack", "pixels_in_boxes", "unpack"]

# About so many pixels are looked at in one go, which bounds the memory.
AT_ONCE: Final = 1 << 18
EMPTY: Final = torch.iinfo(torch.int64).max
_INDEX_BITS: Final = 32


def pack(values: Tensor, indices: Tensor) -> Tensor:
    """Join positive values (M,) float and indices (M,) int64 to integers (M,) that sort by value, then by index."""
    # The bits of positive floats sort as the floats do.
    return values.float().view(torch.int32).long() << _INDEX_BITS | indices


def unpack(packed: Tensor) -> Tensor:
    """Indices in what was packed, of any shape; -1 for ``EMPTY``."""
    return torch.where(packed == EMPTY, -1, packed & ((1 << _INDEX_BITS) - 1))


def pixels_in_boxes(
    low: Tensor, high: Tensor, size: tuple[int, int]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Enumerate the pixels whose centres lie in boxes on the screen, some boxes at a time.

    Parameters
    ----------
    low, high : (N, 2) float
        Corners x, y of the boxes, finite.
    size : (int, int)
        H, W of the image.

    Yields
    ------
    box, row, column : (M,) int64
        Every pixel of every box.
    """
    height, width = size
    limit = low.new_tensor([width, height])
    first = (low - 0.5).ceil().clamp(min=0).minimum(limit).long()
    last = (high - 0.5).floor().clamp(min=-1).minimum(limit - 1).long()
    extent = (last - first + 1).clamp(min=0)
    counts = extent.prod(1)
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    marks = torch.arange(AT_ONCE, total + AT_ONCE, AT_ONCE, device=low.device)
    cuts = [0, *(torch.searchsorted(ends, marks) + 1).clamp(max=len(counts)).tolist()]
    for begin, end in pairwise(cuts):
        count = counts[begin:end]
        box = torch.arange(begin, end, device=low.device).repeat_interleave(count)
        index = (
            torch.arange(len(box), device=low.device) - (ends - counts)[box] + (ends - counts)[begin:end][:1]
        )
        across = extent[box, 0]
        row = index // across
        yield box, row + first[box, 1], index - row * across + first[box, 0]
