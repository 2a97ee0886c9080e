"""The losses of the paper's stages beside naive references."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from raf_training.losses.displacement_2d import displacement_2d_loss
from raf_training.losses.eye_closure_2d import eye_closure_2d_loss
from raf_training.losses.image import image_loss
from raf_training.losses.landmark_2d import Landmarks, landmark_2d_loss
from raf_training.losses.mask import mask_loss
from raf_training.losses.mse_3d import mse_3d_loss
from raf_training.losses.regularisation import regularisation_loss
from raf_training.losses.weights import STAGE_1, STAGE_2

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
H, W, V = 4, 5, 7
SIZE = (H, W)


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("loss", "power"), [(image_loss, 1), (mask_loss, 2)])
@pytest.mark.parametrize("confident", [True, False])
def test_image_and_mask(loss: Loss, power: int, confident: bool) -> None:
    predicted, target, confidence = random(1, H, W), random(2, H, W), random(3, H, W)
    total = weight = 0.0
    for row in range(H):
        for column in range(W):
            c = float(confidence[row, column]) if confident else 1.0
            total += c * abs(float(predicted[row, column] - target[row, column])) ** power
            weight += c
    assert float(loss(predicted, target, confidence if confident else None)) == pytest.approx(total / weight)


def test_displacement_2d() -> None:
    predicted, target, weight = random(1, H, W, 2), random(2, H, W, 2), random(3, H, W)
    total = 0.0
    for i in range(H):
        for j in range(W):
            right, down = (float(predicted[i, j, c] - target[i, j, c]) for c in range(2))
            total += float(weight[i, j]) * (math.sqrt(right**2 + down**2 + 0.01**2) - 0.01)
    found = displacement_2d_loss(predicted, target, weight)
    assert float(found) == pytest.approx(total / float(weight.sum()))
    # Poses share the neutral head's weight.
    several = displacement_2d_loss(torch.stack([predicted, target]), torch.stack([target, target]), weight)
    assert float(several) == pytest.approx(float(found) / 2)


def test_nothing_to_compare_is_no_loss() -> None:
    nothing = torch.zeros(H, W, dtype=torch.float64)
    image, flow = random(1, H, W), random(2, H, W, 2)
    assert image_loss(image, 1 - image, nothing) == mask_loss(image, 1 - image, nothing) == 0
    assert displacement_2d_loss(flow, 1 - flow, nothing) == 0


def test_regularisation() -> None:
    displacements = random(1, 2, V, 3)
    total = sum(float(displacements[p, v, i]) ** 2 for p in range(2) for v in range(V) for i in range(3))
    assert float(regularisation_loss(displacements)) == pytest.approx(total / (2 * V))


def test_mse_3d() -> None:
    predicted, target = random(1, V, 3), random(2, V, 3)
    total = sum(float(predicted[v, i] - target[v, i]) ** 2 for v in range(V) for i in range(3))
    assert float(mse_3d_loss(predicted, target)) == pytest.approx(total / (3 * V))


def test_landmarks_lie_on_the_surface() -> None:
    landmarks = Landmarks(
        torch.tensor([[0, 1, 2], [3, 3, 3]]), torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    )
    vertices = random(1, 2, V, 3)
    found = landmarks.on(vertices)
    assert found.shape == (2, 2, 3)
    expected = 0.2 * vertices[:, 0] + 0.3 * vertices[:, 1] + 0.5 * vertices[:, 2]
    torch.testing.assert_close(found[:, 0], expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(found[:, 1], vertices[:, 3])


def test_landmark_2d() -> None:
    predicted, target = random(1, V, 3), random(2, V, 3)
    # Depth does not count, and half of the shorter side is 1.
    total = sum(abs(float(predicted[v, i] - target[v, i])) / (H / 2) for v in range(V) for i in range(2))
    assert float(landmark_2d_loss(predicted, target, SIZE)) == pytest.approx(total / V)


def test_eye_closure_2d() -> None:
    upper, lower, true_upper, true_lower = (random(seed, V, 3) for seed in range(4))
    total = 0.0
    for v in range(V):
        for i in range(2):
            aperture = float(upper[v, i] - lower[v, i])
            total += abs(aperture - float(true_upper[v, i] - true_lower[v, i])) / (H / 2)
    found = eye_closure_2d_loss((upper, lower), (true_upper, true_lower), SIZE)
    assert float(found) == pytest.approx(total / V)
    # Where the eye is does not count; crossed lids are not closed ones.
    assert float(eye_closure_2d_loss((upper + 3, lower + 3), (upper, lower), SIZE)) == pytest.approx(
        0, abs=1e-12
    )
    assert eye_closure_2d_loss((upper, lower), (lower, upper), SIZE) > 0


def test_weights_are_those_of_the_paper() -> None:
    first = {name: weight for name, weight in vars(STAGE_1).items() if weight}
    assert first == {"image": 10.0, "mask": 1.0, "displacement_2d": 1.0, "regularisation": 1e-4}
    second = {name: weight for name, weight in vars(STAGE_2).items() if weight}
    assert second == {
        "image": 10.0,
        "mask": 1.0,
        "mse_3d": 100.0,
        "landmark_2d": 0.5,
        "eye_closure_2d": 0.5,
    }
