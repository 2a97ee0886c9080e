"""Weights under which the network commutes with reflection: what it says of one side, it says of the other.

A head and its mirror image differ by x -> -x. Let every layer's channels come in pairs that the reflection swaps (the
regular representation of the group of two elements, Cohen and Welling, "Group Equivariant Convolutional Networks",
2016), coordinates change sign, and poses and marked anchors swap left and right. A linear map W then commutes with it
if ``S_out W S_in = W``, S being signed permutations, and the network is exactly equivariant when all its weights are:
diffusion treats channels alike, and inner products of gradients change sign only with the imaginary part of the map
between them (in a mirror, the tangent to the right becomes minus the one to the right).

Such weights are a linear subspace that AdamW, which works entry by entry, never leaves if it starts there and its
gradients lie there too. Hence :meth:`Reflection.project` is all there is: once on the weights, then on each gradient.
What is trained is an ordinary network; export and runtime know nothing of this.

Axis legend: C channels, G gradients, P poses, A anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raf_runtime.symmetry import other_side
from raf_training.network import DiffusionBlock, NetworkConfig, RigNetwork

__all__ = ["Reflection", "Swap"]


@dataclass(frozen=True)
class Swap:
    """What reflection does to one axis: entry i of the reflected vector is ``sign[i] * vector[index[i]]``."""

    index: Tensor  # (n,) int64, its own inverse
    sign: Tensor  # (n,) float32

    def __add__(self, other: Swap) -> Swap:
        """Put two axes end to end."""
        index = torch.cat([self.index, other.index + len(self.index)])
        return Swap(index, torch.cat([self.sign, other.sign]))

    def __neg__(self) -> Swap:
        return Swap(self.index, -self.sign)

    def vectors(self) -> Swap:
        """Replace each entry by a vector, whose x changes sign."""
        index = (3 * self.index[:, None] + torch.arange(3)).flatten()
        return Swap(index, (self.sign[:, None] * torch.tensor([-1.0, 1.0, 1.0])).flatten())

    def apply(self, values: Tensor, axis: int) -> Tensor:
        """Reflect an array along one axis."""
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        return values.index_select(axis, self.index) * self.sign.reshape(shape)


def _pairs(count: int) -> Swap:
    """Channels 0 and 1, 2 and 3, ... change places; a last odd one stays."""
    index = torch.arange(count)
    paired = count - count % 2
    index[:paired] ^= 1
    return Swap(index, torch.ones(count))


def _named(names: Sequence[str]) -> Swap:
    """Left and right change places."""
    index = torch.tensor([names.index(other_side(name)) for name in names], dtype=torch.long)
    return Swap(index, torch.ones(len(names)))


class Reflection:
    """The reflection of a network that emits all poses at once.

    Parameters
    ----------
    network : RigNetwork
        Its parameters are projected in place.
    """

    def __init__(self, network: RigNetwork) -> None:
        self.network = network
        self._axes: list[tuple[nn.Parameter, tuple[Swap, ...]]] = []
        config = network.config
        local = _local(config)
        anchors = _named(config.marks) + _pairs(config.anchors - len(config.marks))
        channels, pooled = _pairs(config.width), _pairs(config.encoder_width)
        described = local + anchors.vectors() + anchors
        encoder = network.encoder
        if encoder is not None:
            self._linear(encoder.embed, pooled, local)
            for block in encoder.blocks:
                self._block(block, config.encoder_width, config.encoder_gradients)
            if encoder.attend is not None:
                self._linear(encoder.attend, anchors, pooled)
            described = described + pooled
        self._axes.append((network.log_reach, (anchors,)))
        self._linear(network.embed, channels, described)
        for block in network.trunk:
            self._block(block, config.width, config.gradients)
        widen, _, emit = network.head
        hidden = _pairs(2 * config.width)
        self._linear(widen, hidden, channels)
        self._linear(emit, _named(config.poses).vectors(), hidden)

    def _linear(self, layer: nn.Module, out: Swap, into: Swap) -> None:
        assert isinstance(layer, nn.Linear)
        self._axes.append((layer.weight, (out, into)))
        if layer.bias is not None:
            self._axes.append((layer.bias, (out,)))

    def _block(self, block: nn.Module, width: int, gradients: int) -> None:
        assert isinstance(block, DiffusionBlock)
        channels, inner = _pairs(width), _pairs(gradients)
        mixed = channels + channels + inner
        self._axes += [(block.log_time, (channels,)), (block.norm.weight, (mixed,)), (block.norm.bias, (mixed,))]
        self._linear(block.differentiate, inner + inner + -inner, channels)
        first, _, second = block.mix
        self._linear(first, channels, mixed)
        self._linear(second, channels, channels)

    @torch.no_grad()
    def project(self, *, gradients: bool) -> None:
        """Replace weights, or their gradients, by the nearest that commute with the reflection."""
        for parameter, axes in self._axes:
            values = parameter.grad if gradients else parameter
            if values is None:
                continue
            reflected = values
            for axis, swap in enumerate(axes):
                reflected = swap.apply(reflected, axis)
            values.add_(reflected).mul_(0.5)


def _local(config: NetworkConfig) -> Swap:
    """Of the features of each vertex by itself: positions, normals, and sines of positions are odd in x."""
    point = Swap(torch.arange(1), torch.ones(1)).vectors()
    still = Swap(torch.arange(3), torch.ones(3))
    features = point + point
    for _ in range(config.frequencies):
        features = features + point + still
    return features
