"""The losses beside naive references."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.losses.anchors import anchor_loss
from raf_training.losses.displacement import (
    POWER,
    SMOOTH,
    SQUARED,
    STILL,
    STILL_SQUARED,
    displacement_loss,
    on_open_jaw,
)
from raf_training.network import SurfaceTensors

P, V = len(ARKIT_POSES), 5
OPEN, CLOSE = ARKIT_POSES.index("jawOpen"), ARKIT_POSES.index("mouthClose")


def example(seed: int) -> Tensor:
    return torch.randn(P, V, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_loss(predicted: Tensor, target: Tensor, mask: list[bool]) -> float:
    def at(values: Tensor, pose: int, vertex: int, axis: int) -> float:
        opened = float(values[OPEN, vertex, axis]) if pose == CLOSE else 0.0
        return float(values[pose, vertex, axis]) + opened

    losses: list[float] = []
    for pose in range(P):
        if mask[pose]:
            distance = motion = squares = energy = 0.0
            for vertex in range(V):
                true = [at(target, pose, vertex, axis) for axis in range(3)]
                error = [at(predicted, pose, vertex, axis) - true[axis] for axis in range(3)]
                distance += math.sqrt(sum(x * x for x in error) + SMOOTH**2) / V
                motion += math.sqrt(sum(x * x for x in true)) / V
                squares += sum(x * x for x in error) / V
                energy += sum(x * x for x in true) / V
            relative = squares / (energy + STILL_SQUARED)
            losses.append(distance / (motion + STILL) ** POWER + SQUARED * relative)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("absent", [(), (CLOSE,), (0, 7, 51)])
def test_is_what_a_loop_computes(absent: tuple[int, ...]) -> None:
    mask = [pose not in absent for pose in range(P)]
    found = displacement_loss(example(1), example(2), torch.tensor(mask))
    assert float(found) == pytest.approx(naive_loss(example(1), example(2), mask), rel=1e-12)


def test_padding_does_not_count() -> None:
    mask = torch.ones(P, dtype=torch.bool)
    there = torch.tensor([True, True, False, True, False])
    found = displacement_loss(example(1), example(2), mask, there)
    alone = displacement_loss(example(1)[:, there], example(2)[:, there], mask)
    assert float(found) == pytest.approx(float(alone), rel=1e-12)


def test_is_nearly_zero_at_the_truth() -> None:
    target = example(1)
    everything = torch.ones(P, dtype=torch.bool)
    at_truth = displacement_loss(target, target, everything)
    assert 0 <= float(at_truth) < 2 * SMOOTH
    assert displacement_loss(target + 0.01, target, everything) > at_truth


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_gradient_is_finite_at_the_truth(scale: float) -> None:
    target = scale * example(1)
    predicted = target.clone().requires_grad_()
    displacement_loss(predicted, target, torch.ones(P, dtype=torch.bool)).backward()
    assert predicted.grad is not None
    assert predicted.grad.abs().max() < 1e-9


def test_absent_poses_teach_nothing() -> None:
    mask = torch.ones(P, dtype=torch.bool)
    mask[[0, 7]] = False
    predicted = example(1).requires_grad_()
    displacement_loss(predicted, example(2), mask).backward()
    assert predicted.grad is not None
    assert torch.equal(predicted.grad.abs().amax((1, 2)) > 0, mask)


def test_closing_the_mouth_counts_on_top_of_the_open_jaw() -> None:
    target, predicted = example(1), example(1)
    # A jaw that opens further is forgiven in mouthClose if the mouth closes further by as much.
    predicted[OPEN] += 0.5
    predicted[CLOSE] -= 0.5
    only_close = torch.zeros(P, dtype=torch.bool)
    only_close[CLOSE] = True
    truth = displacement_loss(target, target, only_close)
    assert float(displacement_loss(predicted, target, only_close)) == pytest.approx(float(truth), rel=1e-9)


def test_sum_with_the_open_jaw_leaves_its_argument_alone() -> None:
    values = example(1)
    before = values.clone()
    summed = on_open_jaw(values)
    assert torch.equal(values, before)
    assert torch.equal(summed[CLOSE], values[CLOSE] + values[OPEN])
    others = [pose for pose in range(P) if pose != CLOSE]
    assert torch.equal(summed[others], values[others])


def naive_anchor_loss(
    anchors: Tensor, marks: tuple[str, ...], surface: SurfaceTensors, deltas: Tensor
) -> float:
    distances: list[float] = []
    for anchor, name in zip(anchors, marks, strict=False):
        total, centre = 0.0, [0.0, 0.0, 0.0]
        for vertex in range(V):
            shape = deltas[ARKIT_POSES.index(name), vertex]
            energy = float(surface.mass[vertex]) * sum(float(x) ** 2 for x in shape)
            total += energy
            centre = [c + energy * float(x) for c, x in zip(centre, surface.positions[vertex], strict=True)]
        if total:
            distances.append(math.dist([c / total for c in centre], anchor.tolist()))
    return sum(distances) / len(distances)


def test_anchors_are_compared_with_the_centres_of_motion() -> None:
    marks = ("jawOpen", "eyeBlinkLeft", "browInnerUp", "mouthPucker")
    random = torch.Generator().manual_seed(0)
    positions, anchors = (torch.randn(n, 3, generator=random, dtype=torch.float64) for n in (V, 6))
    mass = torch.rand(V, generator=random, dtype=torch.float64)
    empty = torch.zeros(0, dtype=torch.float64)
    surface = SurfaceTensors(positions, positions, mass, empty, empty, empty, empty)
    deltas, mask = example(3), torch.ones(P, dtype=torch.bool)
    deltas[ARKIT_POSES.index("browInnerUp")] = 0  # moves nothing: nowhere to be
    found = anchor_loss(anchors, marks, surface, deltas, mask)
    assert float(found) == pytest.approx(naive_anchor_loss(anchors, marks, surface, deltas), rel=1e-12)
    mask[ARKIT_POSES.index("jawOpen")] = False
    rest = anchor_loss(anchors[1:], marks[1:], surface, deltas, mask)
    assert float(anchor_loss(anchors, marks, surface, deltas, mask)) == pytest.approx(float(rest), rel=1e-12)
