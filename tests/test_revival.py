"""Units that never fire are drawn anew, without a change of what the network says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raf_export.trace import synthetic_inputs
from raf_training.network import NetworkConfig, RigNetwork, SurfaceTensors
from raf_training.revival import revive

CONFIG = NetworkConfig(eigenpairs=12, width=16, gradients=8, trunk_blocks=1)
DEAD = [1, 5, 30]


@pytest.fixture
def witnesses() -> list[SurfaceTensors]:
    return [
        SurfaceTensors(**{k: torch.from_numpy(v) for k, v in synthetic_inputs(300, 12, seed).items()})
        for seed in range(2)
    ]


def layers_of(network: RigNetwork) -> tuple[nn.Linear, nn.Linear]:
    """The layers before and after the rectified units of the head."""
    first, _, second = network.head
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    return first, second


def damaged() -> tuple[RigNetwork, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = RigNetwork(CONFIG)
    nn.init.normal_(layers_of(network)[1].weight)
    with torch.no_grad():
        layers_of(network)[0].bias[DEAD] = -1e3
    return network, torch.optim.AdamW(network.parameters())


def firing(network: RigNetwork, witnesses: list[SurfaceTensors]) -> Tensor:
    """Share of vertices (H,) on which each unit of the head fires."""
    shares: list[Tensor] = []
    hook = network.head[1].register_forward_hook(lambda *call: shares.append((call[2] > 0).float().mean(0)))
    with torch.no_grad():
        for surface in witnesses:
            network(surface)
    hook.remove()
    return torch.stack(shares).mean(0)


def test_dead_units_fire_again(witnesses: list[SurfaceTensors]) -> None:
    network, optimizer = damaged()
    alive = [i for i in range(32) if i not in DEAD]
    before = firing(network, witnesses)
    assert not before[DEAD].any() and before[alive].all()
    with torch.no_grad():
        said = network(witnesses[0])
    assert revive(network, [optimizer], witnesses, seed=0) == len(DEAD)
    after = firing(network, witnesses)
    assert (after[DEAD] > 0.02).all()
    assert torch.equal(after[alive], before[alive])
    with torch.no_grad():
        torch.testing.assert_close(network(witnesses[0]), said)
    assert revive(network, [optimizer], witnesses, seed=0) == 0


def test_they_learn_again(witnesses: list[SurfaceTensors]) -> None:
    network, optimizer = damaged()
    revive(network, [optimizer], witnesses, seed=0)
    (network(witnesses[0]) - 1).square().mean().backward()
    gradient = layers_of(network)[1].weight.grad
    assert gradient is not None
    assert gradient[:, DEAD].abs().sum(0).all()


def test_the_optimizer_forgets_them(witnesses: list[SurfaceTensors]) -> None:
    network, optimizer = damaged()
    (network(witnesses[0]) - 1).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        layers_of(network)[0].bias[DEAD] = -1e3
    optimizer.state[layers_of(network)[0].weight]["exp_avg"][DEAD] = 1.0
    revive(network, [optimizer], witnesses, seed=0)
    memory = optimizer.state[layers_of(network)[0].weight]["exp_avg"]
    assert not memory[DEAD].any() and memory.any()


def test_it_follows_from_the_seed(witnesses: list[SurfaceTensors]) -> None:
    first, second, third = (damaged() for _ in range(3))
    for (network, optimizer), seed in ((first, 1), (second, 1), (third, 2)):
        revive(network, [optimizer], witnesses, seed)
    weights = [layers_of(network)[0].weight[DEAD] for network, _ in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
