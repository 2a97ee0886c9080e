"""A new start for units that never fire.

A rectified unit that no input excites any more has no gradient and never comes back. After 78,000 steps 99 of the 256
units before the network's output were in that state; after steps that were twice as large 157 were, and whole shapes
stayed at rest. Such units are drawn anew, and nothing listens to them yet, so that the network goes on computing what
it did (Sokar, Agarwal, Castro, Evci, "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", 2023).

Axis legend: N vertices of all witnesses, I inputs and H units of one layer, D dead units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from raf_training.network import RigNetwork, SurfaceTensors

__all__ = ["revive"]

# A unit counts as dead if it fires on no more than this share of the vertices.
DEAD = 1e-4
# Standard deviations by which a new unit stays below its threshold: it fires on about a sixth of the vertices.
BELOW = 1.0


@torch.no_grad()
def revive(
    network: RigNetwork,
    optimizers: Sequence[torch.optim.Optimizer],
    witnesses: Sequence[SurfaceTensors],
    seed: int,
) -> int:
    """Draw the dead units of a network anew, in place.

    Parameters
    ----------
    network : RigNetwork
    optimizers : sequence of Optimizer
        What they remember of these units is forgotten.
    witnesses : sequence of SurfaceTensors
        Heads on which a living unit fires.
    seed : int

    Returns
    -------
    int
        How many there were.
    """
    layers = list(_rectified_layers(network))
    seen: dict[nn.Module, list[Tensor]] = {first: [] for first, _ in layers}
    hooks = [
        first.register_forward_pre_hook(lambda layer, inputs: seen[layer].append(inputs[0]))
        for first, _ in layers
    ]
    for surface in witnesses:
        network(surface)
    for hook in hooks:
        hook.remove()
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for first, second in layers:
        inputs = torch.cat(seen[first])  # (N, I)
        excitation = first(inputs)  # (N, H)
        dead = ((excitation > 0).float().mean(0) <= DEAD).nonzero()[:, 0]
        if not len(dead):
            continue
        count += len(dead)
        fresh = torch.randn(len(dead), first.in_features, generator=generator).to(inputs)
        mean, spread = inputs.mean(0), (inputs @ fresh.T).std(0)
        # As wide as the excitation of the living.
        fresh *= (excitation.std(0).median() / spread.clamp(min=1e-6))[:, None]
        first.weight[dead] = fresh
        first.bias[dead] = -fresh @ mean - BELOW * excitation.std(0).median()
        second.weight[:, dead] = 0
        for parameter, rows in (
            (first.weight, (dead,)),
            (first.bias, (dead,)),
            (second.weight, (slice(None), dead)),
        ):
            for memory in (value for o in optimizers for value in o.state.get(parameter, {}).values()):
                if isinstance(memory, Tensor) and memory.ndim:
                    memory[rows] = 0
    return count


def _rectified_layers(network: RigNetwork) -> Iterator[tuple[nn.Linear, nn.Linear]]:
    """Linear layers before and after each layer of rectified units."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) == 3:
            first, _, second = module
            assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
            yield first, second
