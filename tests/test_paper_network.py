"""The paper's network beside its formulas, written out vertex by vertex in NumPy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_training.network import CONFIGS, RigNetwork, SurfaceTensors

V, K, P = 14, 6, len(ARKIT_POSES)

Doubles = NDArray[np.float64]
Weights = dict[str, Doubles]


def surface() -> dict[str, Doubles]:
    random = np.random.default_rng(1)
    normals = random.standard_normal((V, 3))
    return {
        "positions": random.standard_normal((V, 3)),
        "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
        "mass": random.uniform(0.5, 2, V),
        "eigenvalues": np.arange(K, dtype=np.float64),
        "eigenvectors": 0.3 * random.standard_normal((V, K)),
        "gradient_x": 0.3 * random.standard_normal((V, K)),
        "gradient_y": 0.3 * random.standard_normal((V, K)),
    }


def linear(weights: Weights, name: str, x: NDArray[Any]) -> NDArray[Any]:
    result = weights[f"{name}.weight"] @ x
    return result + weights[f"{name}.bias"] if f"{name}.bias" in weights else result


def two_layers(weights: Weights, name: str, x: Doubles) -> Doubles:
    return linear(weights, f"{name}.2", np.maximum(linear(weights, f"{name}.0", x), 0))


def diffusion_block(weights: Weights, name: str, x: list[Doubles], s: dict[str, Doubles]) -> list[Doubles]:
    channels = len(x[0])
    spectrum = np.zeros((K, channels))
    for k in range(K):
        for v in range(V):
            spectrum[k] += s["eigenvectors"][v, k] * s["mass"][v] * x[v]
        spectrum[k] *= np.exp(-s["eigenvalues"][k] * np.exp(weights[f"{name}.log_time"]))
    result: list[Doubles] = []
    for v in range(V):
        diffused = sum(s["eigenvectors"][v, k] * spectrum[k] for k in range(K))
        tangent = sum((s["gradient_x"][v, k] + 1j * s["gradient_y"][v, k]) * spectrum[k] for k in range(K))
        # Tangent vectors as complex numbers: the inner product of w with the vector that A makes of z.
        w, real, imaginary = np.split(linear(weights, f"{name}.differentiate", np.asarray(tangent)), 3)
        gradients = np.tanh((np.conj(w) * (real + 1j * imaginary)).real)
        mixed = np.concatenate([x[v], diffused, gradients])
        mixed = (mixed - mixed.mean()) / np.sqrt(mixed.var() + 1e-5)
        mixed = weights[f"{name}.norm.weight"] * mixed + weights[f"{name}.norm.bias"]
        result.append(x[v] + two_layers(weights, f"{name}.mix", mixed))
    return result


def reference(weights: Weights, s: dict[str, Doubles], pose: Doubles) -> Doubles:
    """Displacements (V, 3) of one pose vector (P,)."""
    local = [np.concatenate([s["positions"][v], s["normals"][v]]) for v in range(V)]
    x = [linear(weights, "encoder.embed", features) for features in local]
    for block in range(2):
        x = diffusion_block(weights, f"encoder.blocks.{block}", x, s)
    pooled = sum(s["mass"][v] * x[v] for v in range(V)) / s["mass"].sum()
    x = [linear(weights, "embed", np.concatenate([features, pooled])) for features in local]
    for block in range(8):
        x = diffusion_block(weights, f"posed.{block}.diffusion", x, s)
        fused = [np.concatenate([features, pose, pooled]) for features in x]
        x = [a + two_layers(weights, f"posed.{block}.fuse", b) for a, b in zip(x, fused, strict=True)]
    return np.array([two_layers(weights, "head", features) for features in x])


@pytest.fixture(scope="module")
def network() -> RigNetwork:
    torch.manual_seed(0)
    network = RigNetwork(CONFIGS["paper"])
    # Norms and biases that are not what they begin with, and a head that moves.
    for name, parameter in network.named_parameters():
        if "norm" in name or "bias" in name:
            nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(network.get_parameter("head.2.weight"), std=0.01)
    return network.double()


def tensors(s: dict[str, Doubles], dtype: torch.dtype) -> SurfaceTensors:
    return SurfaceTensors(*(torch.from_numpy(s[name]).to(dtype) for name in INPUTS))


def run(network: RigNetwork, pose: Doubles, dtype: torch.dtype = torch.float64) -> Doubles:
    with torch.no_grad():
        return network(tensors(surface(), dtype), torch.from_numpy(pose).to(dtype)).double().numpy()


def test_forward_is_the_reference(network: RigNetwork) -> None:
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    poses = np.random.default_rng(2).uniform(0, 1, (2, P))
    expected = np.stack([reference(weights, surface(), pose) for pose in poses])
    assert 0.1 < np.abs(expected).max() < 10
    assert np.abs(expected[0] - expected[1]).max() > 1e-2
    np.testing.assert_allclose(run(network, poses), expected, rtol=0, atol=1e-10)


def test_single_precision_is_as_good_as_a_training_needs(network: RigNetwork) -> None:
    pose = np.eye(P)[:1]
    single = RigNetwork(CONFIGS["paper"])
    single.load_state_dict(network.state_dict())
    assert np.abs(run(single, pose, torch.float32) - run(network, pose)).max() < 1e-5


@pytest.mark.parametrize("blocks", [2, 0])
def test_a_batch_of_poses_is_its_poses_one_by_one(blocks: int) -> None:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {"width": 16, "gradients": 8, "pose_blocks": 2, "encoder_width": 8}
    small = RigNetwork(
        replace(CONFIGS["paper"], **sizes, encoder_gradients=4, encoder_blocks=blocks)
    ).double()
    nn.init.normal_(small.get_parameter("head.2.weight"))
    poses = np.random.default_rng(3).uniform(0, 1, (5, P))
    together = run(small, poses)
    assert together.shape == (5, V, 3)
    apart = np.concatenate([run(small, pose) for pose in poses])
    np.testing.assert_allclose(together, apart, rtol=0, atol=1e-12)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_without_a_global_encoder_parts_know_nothing_of_each_other() -> None:
    torch.manual_seed(1)
    config = replace(
        CONFIGS["paper"], width=16, gradients=8, pose_blocks=2, encoder_width=8, encoder_gradients=4
    )
    s = surface()
    # Two parts: each eigenvector lives on one of them.
    for name in ("eigenvectors", "gradient_x", "gradient_y"):
        s[name][: V // 2, K // 2 :] = s[name][V // 2 :, : K // 2] = 0
    changed = {name: value.copy() for name, value in s.items()}
    changed["positions"][V // 2 :] += 1
    pose = torch.ones(P, dtype=torch.float64)
    for blocks, informed in ((2, True), (0, False)):
        network = RigNetwork(replace(config, encoder_blocks=blocks)).double()
        nn.init.normal_(network.get_parameter("head.2.weight"))
        with torch.no_grad():
            before, after = (network(tensors(x, torch.float64), pose)[0, : V // 2] for x in (s, changed))
        assert ((before - after).abs().max() > 1e-3) == informed
