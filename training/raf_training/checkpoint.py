"""Checkpoints (to resume a run) and weights (to export, or to start another run from).

Both are written to a temporary name and renamed. Checkpoints load with ``weights_only=True``; weights are
safetensors whose metadata holds the network's configuration.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from raf_runtime.errors import ModelError, ModelFileNotFoundError
from raf_training.network import NetworkConfig, RigNetwork
from raf_training.readouts import BlendedLinear

__all__ = ["half_digits", "load_checkpoint", "load_network", "save_checkpoint", "save_weights"]


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write everything a run needs to go on."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU.

    Raises
    ------
    ModelError
        If the file is not a checkpoint of this package.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise ModelError(f"{path} is not a readable checkpoint ({error}); start the run anew") from error
    if not isinstance(state, dict) or "step" not in state:
        raise ModelError(f"{path} is not a checkpoint of raf-train; start the run anew")
    return state


def save_weights(
    path: Path, weights: dict[str, Tensor], config: NetworkConfig, about: dict[str, str]
) -> None:
    """Write weights with their configuration; ``about`` is further metadata (commit, data attribution...)."""
    temporary = path.with_suffix(".tmp")
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(tensors, temporary, metadata={"config": json.dumps(asdict(config)), **about})
    temporary.replace(path)


def half_digits(network: RigNetwork, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights of a network, the linear layers' rounded to values that float16 has.

    Exported in half precision it is then the same network, and only what it computes is rounded.
    """
    linear = {
        f"{name}.{part}"
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | BlendedLinear)
        for part, _ in module.named_parameters()
    }
    return {name: value.half().float() if name in linear else value for name, value in weights.items()}


def load_network(path: Path) -> tuple[RigNetwork, dict[str, str]]:
    """Read weights into a network in evaluation mode; returns it with the file's metadata.

    Raises
    ------
    ModelFileNotFoundError, ModelError
        If the file is missing, is not safetensors, or its tensors do not fit its configuration.
    """
    if not path.is_file():
        raise ModelFileNotFoundError(f"{path} does not exist; pass a weights file written by raf-train")
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            weights = {name: file.get_tensor(name) for name in file.keys()}
        fields: dict[str, Any] = json.loads(about["config"])
        # Older weights have no marks, nor families.
        fields |= {name: tuple(fields.get(name, ())) for name in ("poses", "marks", "families")}
        network = RigNetwork(NetworkConfig(**fields))
        network.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not a weights file of raf-train ({error})") from error
    return network.eval(), about
