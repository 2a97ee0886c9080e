"""The network: sizes, what its result may depend on and what it may not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from raf_training.network import CONFIGS, NetworkConfig, RigNetwork, SurfaceTensors

V, K = 60, 8
TINY = NetworkConfig(
    eigenpairs=K,
    width=16,
    gradients=8,
    trunk_blocks=2,
    encoder_width=8,
    encoder_gradients=4,
    encoder_blocks=1,
    anchors=3,
    frequencies=2,
)
POSED = replace(TINY, trunk_blocks=0, pose_blocks=2, anchors=0, frequencies=0)


def surface() -> SurfaceTensors:
    """Random inputs in double precision, so that equal means equal to many digits."""
    random = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return SurfaceTensors(
        positions=normal(V, 3),
        normals=nn.functional.normalize(normal(V, 3), dim=1),
        mass=1 + normal(V).square(),
        eigenvalues=torch.arange(K, dtype=torch.float64),
        eigenvectors=normal(V, K),
        gradient_x=normal(V, K),
        gradient_y=normal(V, K),
    )


def moving(config: NetworkConfig) -> RigNetwork:
    """A network whose head is no longer zero."""
    torch.manual_seed(0)
    network = RigNetwork(config).double()
    for parameter in network.head.parameters():
        nn.init.normal_(parameter)
    return network


def run(network: RigNetwork, inputs: SurfaceTensors, pose: int = 3) -> Tensor:
    weights = torch.zeros(len(network.config.poses), dtype=torch.float64)
    weights[pose] = 1
    with torch.no_grad():
        return network(inputs, weights if network.config.pose_blocks else None)


@pytest.mark.parametrize(("name", "millions"), [("default", 0.475), ("paper", 5.4)])
def test_sizes(name: str, millions: float) -> None:
    parameters = sum(value.numel() for value in RigNetwork(CONFIGS[name]).parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=0.05)


@pytest.mark.parametrize("name", ["default", "paper"])
def test_starts_from_a_rig_that_does_not_move(name: str) -> None:
    network = RigNetwork(CONFIGS[name]).double()
    result = run(network, surface())
    assert result.shape == (1 if name == "paper" else 52, V, 3)
    assert not result.any()


@pytest.mark.parametrize("config", [TINY, POSED])
def test_every_parameter_takes_part(config: NetworkConfig) -> None:
    network = moving(config)
    network(surface(), torch.ones(52, dtype=torch.float64)).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not parameter.numel(), name


@pytest.mark.parametrize("config", [TINY, POSED])
def test_result_follows_a_shuffle_of_the_vertices(config: NetworkConfig) -> None:
    network, inputs = moving(config), surface()
    order = torch.randperm(V, generator=torch.Generator().manual_seed(2))
    shuffled = SurfaceTensors(
        inputs.positions[order],
        inputs.normals[order],
        inputs.mass[order],
        inputs.eigenvalues,
        inputs.eigenvectors[order],
        inputs.gradient_x[order],
        inputs.gradient_y[order],
    )
    torch.testing.assert_close(run(network, shuffled), run(network, inputs)[:, order])


@pytest.mark.parametrize("config", [TINY, POSED])
def test_sign_of_an_eigenvector_does_not_matter(config: NetworkConfig) -> None:
    network, inputs = moving(config), surface()
    sign = torch.ones(K, dtype=torch.float64)
    sign[1::2] = -1
    flipped = replace(
        inputs,
        eigenvectors=inputs.eigenvectors * sign,
        gradient_x=inputs.gradient_x * sign,
        gradient_y=inputs.gradient_y * sign,
    )
    torch.testing.assert_close(run(network, flipped), run(network, inputs))


@pytest.mark.parametrize("config", [TINY, POSED])
def test_choice_of_tangents_does_not_matter(config: NetworkConfig) -> None:
    network, inputs = moving(config), surface()
    angle = 2 * math.pi * torch.rand(V, 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    turned = replace(
        inputs,
        gradient_x=angle.cos() * inputs.gradient_x + angle.sin() * inputs.gradient_y,
        gradient_y=angle.cos() * inputs.gradient_y - angle.sin() * inputs.gradient_x,
    )
    torch.testing.assert_close(run(network, turned), run(network, inputs))


@pytest.mark.parametrize("config", [TINY, POSED])
def test_density_of_the_vertices_does_not_matter(config: NetworkConfig) -> None:
    """A vertex cut into two of half the mass is the same surface."""
    network, inputs = moving(config), surface()
    twice = torch.cat([torch.arange(V), torch.arange(20)])
    dense = SurfaceTensors(
        inputs.positions[twice],
        inputs.normals[twice],
        inputs.mass[twice] / torch.bincount(twice)[twice],
        inputs.eigenvalues,
        inputs.eigenvectors[twice],
        inputs.gradient_x[twice],
        inputs.gradient_y[twice],
    )
    torch.testing.assert_close(run(network, dense), run(network, inputs)[:, twice])


@pytest.mark.parametrize(
    "name", ["positions", "normals", "mass", "eigenvalues", "eigenvectors", "gradient_x", "gradient_y"]
)
def test_every_input_matters(name: str) -> None:
    network, inputs = moving(TINY), surface()
    changed = replace(inputs, **{name: getattr(inputs, name).flip(0)})
    assert (run(network, changed) - run(network, inputs)).abs().max() > 1e-3


def test_a_mirrored_orientation_of_the_surface_is_seen() -> None:
    """A reflection of the tangents, unlike a rotation, is another surface: left differs from right."""
    network, inputs = moving(TINY), surface()
    reflected = replace(inputs, gradient_x=-inputs.gradient_x)
    assert (run(network, reflected) - run(network, inputs)).abs().max() > 1e-3


def test_pose_blocks_answer_the_pose_that_is_asked_for() -> None:
    network, inputs = moving(POSED), surface()
    assert run(network, inputs).shape == (1, V, 3)
    assert (run(network, inputs, pose=3) - run(network, inputs, pose=4)).abs().max() > 1e-3


def test_pose_blocks_need_a_pose() -> None:
    with pytest.raises(ValueError, match="pose vector"):
        moving(POSED)(surface())
