"""Muon: semi-orthogonal steps, those of torch's own, and which parameters take them."""

from __future__ import annotations

import pytest
import torch

from raf_training.muon import Muon, optimizers_of, semi_orthogonal
from raf_training.network import CONFIGS, RigNetwork


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (24, 24)])
def test_all_directions_end_about_as_long(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    steep = torch.randn(shape) * torch.logspace(0, -1, shape[1])
    singular = torch.linalg.svdvals(semi_orthogonal(steep[None])[0])
    assert 0.6 < float(singular.min()) and float(singular.max()) < 1.25
    exact = torch.linalg.svd(steep, full_matrices=False)
    assert torch.dist(semi_orthogonal(steep[None])[0], exact.U @ exact.Vh) < 0.4 * min(shape) ** 0.5


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(12, 30), torch.randn(5, 12, 30)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    both = Muon([ours], 0.01), reference
    for gradient in gradients:
        for weight, optimizer in zip((ours, theirs), both, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
    moved = torch.dist(theirs, start)
    assert moved > 0.1
    # Theirs computes in bfloat16.
    assert torch.dist(ours, theirs) < 0.03 * moved


@pytest.mark.parametrize("name", ["default", "blind"])
def test_every_parameter_has_one_optimizer(name: str) -> None:
    network = RigNetwork(CONFIGS[name])
    matrices, rest = (
        [p for group in optimizer.param_groups for p in group["params"]]
        for optimizer in optimizers_of(network, 1e-3)
    )
    assert {id(p) for p in matrices + rest} == {id(p) for p in network.parameters()}
    assert len(matrices) + len(rest) == len(list(network.parameters()))
    assert all(p.ndim == 2 for p in matrices)
    outside = [id(p) for p in rest]
    assert id(network.embed.weight) in outside and id(network.head[2].weight) in outside
