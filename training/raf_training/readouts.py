"""Last layers with weights of their own for each family that a network knows.

What follows the last diffusion looks at one vertex at a time. Rigs of one family move all its identities alike, in
detail that other families have not: layers that serve all of them are a compromise. A head is given the mean of several
sets of weights, by its shares of the families (:meth:`raf_training.strangers.Judge.shares`): one set for all its
vertices, so that it costs no time, and no jump where a face is half a stranger. Strangers have the network's own.

Axis legend: V vertices, C channels, M gathered numbers, N readouts (families, then strangers), I inputs and O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BlendedLinear", "Readouts"]


class BlendedLinear(nn.Module):
    """A linear layer whose weights are a weighted mean of several.

    The mean is written as a sum of products: in half precision it stays in single precision.

    Attributes
    ----------
    weight : (N, I, O)
    bias : (N, O)
    """

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        """Map features (V, I) to (V, O) by shares (N,) of the weights."""
        weight = (shares[:, None, None] * self.weight).sum(0)
        return x @ weight + (shares[:, None] * self.bias).sum(0)


class Readouts(nn.Module):
    """What mixes the last block's features, and the head: as many times as there are readouts."""

    def __init__(self, count: int, channels: int, gathered: int, emitted: int) -> None:
        super().__init__()
        sizes = (
            (gathered, channels),
            (channels, channels),
            (channels, 2 * channels),
            (2 * channels, emitted),
        )
        self.layers = nn.ModuleList(BlendedLinear(count, *size) for size in sizes)

    def forward(self, x: Tensor, gathered: Tensor, shares: Tensor) -> Tensor:
        """Map the last block's input (V, C) and what it gathers of it, normalised (V, M), to what is emitted (V, O)."""
        mix, mixed, widen, emit = self.layers
        x = x + mixed(functional.relu(mix(gathered, shares)), shares)
        return emit(functional.relu(widen(x, shares)), shares)

    @torch.no_grad()
    def take(self, readouts: Sequence[nn.Sequential]) -> None:
        """Take the weights of plain layers: for each readout the last block's ``mix``, followed by the head."""
        for number, layers in enumerate(readouts):
            linear = [layer for layer in layers.modules() if isinstance(layer, nn.Linear)]
            for own, plain in zip(self.layers, linear, strict=True):
                assert isinstance(own, BlendedLinear)
                own.weight[number] = plain.weight.T
                own.bias[number] = plain.bias
