"""Weights under which the network commutes with reflection: what it says of one side, it says of the other.

A head and its mirror image differ by x -> -x. Let every layer's channels come in pairs that the reflection swaps (the
regular representation of the group of two elements, Cohen and Welling, "Group Equivariant Convolutional Networks",
2016), coordinates change sign, and poses and marked anchors swap left and right. A linear map W then commutes with it
if ``S_out W S_in = W``, S being signed permutations, and the network is exactly equivariant when all its weights are:
diffusion treats channels alike, and inner products of gradients change sign only with the imaginary part of the map
between them (in a mirror, the tangent to the right becomes minus the one to the right).

Such weights are a linear subspace that AdamW, which works entry by entry, never leaves if it starts there and its
gradients lie there too. So the weights are projected once and the gradients in each step; what is trained is an
ordinary network, and export and runtime know nothing of this. Trained on heads and their mirror images instead, the
network learned one side of a small shape well and left the other at rest: of browDown 0.26 and 0.40 of the motion.

Axis legend: C channels, G gradients, P poses, A anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.symmetry import other_side
from raf_training.network import DiffusionBlock, NetworkConfig, RigNetwork

__all__ = ["MIRRORED_POSES", "Reflection", "Swap"]

# MIRRORED_POSES[i] is the pose that pose i becomes in a mirror. jawLeft, mouthLeft and the like swap as well.
MIRRORED_POSES = torch.tensor([ARKIT_POSES.index(other_side(name)) for name in ARKIT_POSES])


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
        index, sign = self.index.to(values.device), self.sign.to(values)
        return values.index_select(axis, index) * sign.reshape(shape)


def _pairs(count: int) -> Swap:
    """Channels 0 and 1, 2 and 3, ... change places; a last odd one stays."""
    index = torch.arange(count)
    paired = count - count % 2
    index[:paired] ^= 1
    return Swap(index, torch.ones(count))


def _named(names: Sequence[str]) -> Swap:
    """Left and right change places."""
    if missing := [other_side(name) for name in names if other_side(name) not in names]:
        raise ValueError(f"{', '.join(missing)} is missing, whose other side there is")
    index = torch.tensor([names.index(other_side(name)) for name in names], dtype=torch.long)
    return Swap(index, torch.ones(len(names)))


class Reflection:
    """The reflection of a network that emits all poses at once.

    Parameters
    ----------
    network : RigNetwork
        Its parameters, or their gradients, are what the methods change.

    Raises
    ------
    ValueError
        If the network answers one pose at a time, or ``poses`` or ``marks`` have a side and not its other.
    """

    def __init__(self, network: RigNetwork) -> None:
        if network.config.pose_blocks:
            raise ValueError("a network that answers one pose at a time has no reflection")
        self._axes: list[tuple[Tensor, tuple[Swap, ...]]] = []
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
        self._axes += [
            (parameter, (out, into) if parameter.ndim == 2 else (out,)) for parameter in layer.parameters()
        ]

    def _block(self, block: nn.Module, width: int, gradients: int) -> None:
        assert isinstance(block, DiffusionBlock)
        channels, inner = _pairs(width), _pairs(gradients)
        mixed = channels + channels + inner
        self._axes += [
            (block.log_time, (channels,)),
            (block.norm.weight, (mixed,)),
            (block.norm.bias, (mixed,)),
        ]
        self._linear(block.differentiate, inner + inner + -inner, channels)
        first, _, second = block.mix
        self._linear(first, channels, mixed)
        self._linear(second, channels, channels)

    @torch.no_grad()
    def project_weights(self) -> None:
        """Replace all weights by the nearest that commute with the reflection."""
        for weights, axes in self._axes:
            weights.add_(_reflected(weights, axes)).mul_(0.5)

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Replace the gradients of all weights likewise."""
        for weights, axes in self._axes:
            if weights.grad is not None:
                weights.grad.add_(_reflected(weights.grad, axes)).mul_(0.5)

    @torch.no_grad()
    def commutes(self) -> bool:
        """Whether the weights do."""
        return all(torch.allclose(weights, _reflected(weights, axes)) for weights, axes in self._axes)


def _reflected(values: Tensor, axes: tuple[Swap, ...]) -> Tensor:
    for axis, swap in enumerate(axes):
        values = swap.apply(values, axis)
    return values


def _local(config: NetworkConfig) -> Swap:
    """Of the features of each vertex by itself: positions, normals, and sines of positions are odd in x."""
    point = Swap(torch.arange(1), torch.ones(1)).vectors()
    still = Swap(torch.arange(3), torch.ones(3))
    features = point + point
    for _ in range(config.frequencies):
        features = features + point + still
    return features
