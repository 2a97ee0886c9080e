"""A network with projected weights says the same of a head and of its mirror image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.operators import Operators
from raf_training.network import CONFIGS, LANDMARKS, NetworkConfig, RigNetwork, SurfaceTensors
from raf_training.reflection import MIRRORED_POSES, Reflection

K = 12
FLIP = torch.tensor([-1.0, 1.0, 1.0])
# Odd numbers of channels and of free anchors: the last has no partner and is its own mirror image.
ODD = NetworkConfig(
    eigenpairs=K,
    width=15,
    gradients=7,
    trunk_blocks=2,
    encoder_width=9,
    encoder_gradients=5,
    encoder_blocks=1,
    anchors=7,
    marks=("mouthSmileLeft", "mouthSmileRight", "jawOpen"),
)


def surface(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> SurfaceTensors:
    operators = Operators.build(vertices, faces, np.zeros(len(vertices), dtype=np.int64), K)
    return SurfaceTensors(**{name: torch.from_numpy(value) for name, value in operators.as_inputs().items()})


@pytest.fixture(scope="module")
def pair() -> tuple[SurfaceTensors, SurfaceTensors]:
    """A surface without any symmetry, and its mirror image; so small that eigenpairs are exact."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    points = np.asarray(ball.vertices) * [1.6, 2.1, 1.2]
    points += 0.2 * np.sin(points[:, [1, 2, 0]] * [1.1, 0.7, 1.3] + [0.3, 1.0, 2.0])
    faces = np.asarray(ball.faces, dtype=np.int64)
    return surface(points, faces), surface(points * FLIP.numpy(), faces[:, ::-1].copy())


def random_network(config: NetworkConfig) -> RigNetwork:
    torch.manual_seed(0)
    network = RigNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def difference(network: RigNetwork, pair: tuple[SurfaceTensors, SurfaceTensors]) -> tuple[float, float]:
    """Largest difference of what is said of both sides, and largest displacement."""
    with torch.no_grad():
        plain, mirrored = (network(side) for side in pair)
    found: Tensor = mirrored[MIRRORED_POSES] * FLIP
    return float((found - plain).abs().max()), float(plain.abs().max())


@pytest.mark.parametrize("config", [ODD, replace(CONFIGS["default"], eigenpairs=K)], ids=["odd", "default"])
def test_projected_weights_treat_sides_alike(
    config: NetworkConfig, pair: tuple[SurfaceTensors, SurfaceTensors]
) -> None:
    network = random_network(config)
    before, size = difference(network, pair)
    assert before > 0.1 * size
    reflection = Reflection(network)
    assert not reflection.commutes()
    reflection.project_weights()
    assert reflection.commutes()
    after, size = difference(network, pair)
    # What is left is the operators' float32.
    assert after < 2e-3 * size


def test_every_weight_is_projected() -> None:
    network = random_network(ODD)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Reflection(network).project_weights()
    same = [name for name, value in network.state_dict().items() if torch.equal(value, before[name])]
    assert not same


def test_training_never_leaves_them(pair: tuple[SurfaceTensors, SurfaceTensors]) -> None:
    network = random_network(ODD)
    reflection = Reflection(network)
    reflection.project_weights()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        (network(pair[0]) - 1).square().mean().backward()
        reflection.project_gradients()
        optimizer.step()
    assert reflection.commutes()


@pytest.mark.parametrize(
    ("pose", "other"),
    [
        ("jawLeft", "jawRight"),
        ("eyeLookInLeft", "eyeLookInRight"),
        ("mouthUpperUpRight", "mouthUpperUpLeft"),
        ("jawOpen", "jawOpen"),
    ],
)
def test_poses_exchange_sides(pose: str, other: str) -> None:
    assert ARKIT_POSES[MIRRORED_POSES[ARKIT_POSES.index(pose)]] == other


def test_all_marks_have_their_other_side() -> None:
    with pytest.raises(ValueError, match="mouthSmileRight"):
        Reflection(RigNetwork(replace(ODD, marks=("mouthSmileLeft",))))
    assert CONFIGS["default"].marks == LANDMARKS


def test_networks_that_answer_one_pose_have_none() -> None:
    with pytest.raises(ValueError, match="one pose at a time"):
        Reflection(RigNetwork(replace(ODD, pose_blocks=1)))
