"""More anchors for a trained network, which goes on computing what it did."""

from __future__ import annotations

from dataclasses import replace

import torch

from raf_runtime.errors import ModelError
from raf_training.network import NetworkConfig, RigNetwork

__all__ = ["grow"]


def grow(network: RigNetwork, config: NetworkConfig) -> RigNetwork:
    """Add the anchors that ``config`` has and the network lacks, behind the marks that it has.

    Nothing looks at a new anchor yet: the answers stay the same, bit for bit in exact arithmetic.

    Parameters
    ----------
    network : RigNetwork
    config : NetworkConfig
        Of the result; only ``anchors`` and ``marks`` may differ, and every new anchor is a mark.

    Raises
    ------
    ModelError
        If the network cannot be grown to this configuration.
    """
    old = network.config
    first, new = len(old.marks), config.anchors - old.anchors
    if (
        replace(old, anchors=config.anchors, marks=config.marks) != config
        or config.marks[:first] != old.marks
        or len(config.marks) != first + new
        or not old.anchors
    ):
        raise ModelError(f"weights of {old} cannot go on as {config}; train with their own configuration")
    grown = RigNetwork(config).to(network.embed.weight)
    kept = [a for a in range(config.anchors) if not first <= a < first + new]
    local = 6 + 6 * config.frequencies
    # Columns of the embedding: local features, three offsets per anchor, one nearness per anchor, global vector.
    columns = [*range(local), *(local + 3 * a + axis for a in kept for axis in range(3))]
    columns += [local + 3 * config.anchors + a for a in kept]
    columns += [local + 4 * config.anchors + channel for channel in range(config.encoder_width)]
    state = grown.state_dict()
    for name, value in network.state_dict().items():
        if name == "embed.weight":
            state[name].zero_()
            state[name][:, torch.tensor(columns)] = value
        elif name in ("log_reach", "encoder.attend.weight", "encoder.attend.bias"):
            state[name][torch.tensor(kept)] = value
        else:
            state[name].copy_(value)
    return grown
