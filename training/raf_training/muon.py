"""Muon: steps that turn every direction of a weight matrix by the same amount.

A matrix whose gradient has few strong directions, as those of all shapes that open the mouth have, learns little else
by Adam's steps. Muon takes the gradient's running mean to the nearest semi-orthogonal matrix first (Jordan et al.,
"Muon: An optimizer for hidden layers in neural networks", 2024). After 2,500 steps from scratch a network errs by 0.11
of ICT's motion so, by 0.16 by AdamW alone (docs/left_out.md). ``torch.optim.Muon`` does the same in bfloat16, which
CPUs are slow at.

Axis legend: O rows and I columns of a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from raf_training.network import RigNetwork

__all__ = ["Muon", "optimizers_of"]

MOMENTUM = 0.95
# Steps and coefficients of the Newton-Schulz iteration, from the same source: singular values end between 0.7 and 1.2.
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315
# Makes the steps as long as Adam's, for one learning rate (Liu et al., "Muon is Scalable for LLM Training", 2025).
LIKE_ADAM = 0.2


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for weights (O, I) of hidden layers; others are Adam's.

    Parameters
    ----------
    matrices : iterable of (O, I) parameters
    lr : float
        Learning rate, in Adam's measure.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step along the gradients; returns what the closure, if any, returns."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weights in _by_shape(group["params"]):
                ahead = torch.stack([self._ahead(weight) for weight in weights])
                length = LIKE_ADAM * max(weights[0].shape) ** 0.5
                for weight, step in zip(weights, semi_orthogonal(ahead), strict=True):
                    weight.sub_(step, alpha=group["lr"] * length)
        return loss

    def _ahead(self, weight: nn.Parameter) -> Tensor:
        """Gradient with Nesterov momentum (O, I)."""
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            state["mean"] = torch.zeros_like(weight)
        state["mean"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["mean"], MOMENTUM)


def _by_shape(weights: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Groups of weights of one shape: a GPU takes them in one go."""
    for _, group in groupby(sorted(weights, key=lambda weight: weight.shape), lambda weight: weight.shape):
        yield list(group)


def semi_orthogonal(matrices: Tensor) -> Tensor:
    """About the semi-orthogonal matrices (N, O, I) nearest to matrices (N, O, I), by products of matrices alone."""
    turned = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if turned else matrices
    x = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=B, alpha=C), x, beta=A)
    return x.mT if turned else x


def optimizers_of(network: RigNetwork, rate: float) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices between hidden units; AdamW for those that read inputs or emit outputs, and all else."""
    ends = [network.embed.weight, network.head[2].weight]
    if network.encoder is not None:
        ends.append(network.encoder.embed.weight)
    outside = {id(weight) for weight in ends}
    hidden, others = list[nn.Parameter](), list[nn.Parameter]()
    for weight in network.parameters():
        (hidden if weight.ndim == 2 and id(weight) not in outside else others).append(weight)
    return Muon(hidden, rate), torch.optim.AdamW(others, lr=rate, weight_decay=1e-4, fused=True)
