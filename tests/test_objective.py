"""What a stage minimises: zero at the truth, blind to what is not believed, landmarks where a rig moves."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.dataset import SampleFolder
from raf_training.losses.displacement_2d import displacement_2d_loss
from raf_training.losses.image import image_loss
from raf_training.losses.mask import mask_loss
from raf_training.losses.weights import STAGE_1, STAGE_2, LossWeights
from raf_training.posing import posed
from raf_training.stages.heads import StageData, StageHead
from raf_training.stages.landmarks import landmarks_of, lids_of
from raf_training.stages.objective import Objective
from raf_training.stages.targets import Target
from raf_training.stages.views import FrontView

if TYPE_CHECKING:
    from tests.stage_heads import P, write_samples
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_heads import P, write_samples

R = 32
BLINK = ARKIT_POSES.index("eyeBlinkLeft")


@pytest.fixture
def head(tmp_path: Path) -> StageHead:
    head = StageData(SampleFolder(write_samples(tmp_path / "train", range(1)))).head(0)
    assert head.deltas is not None
    # So that it fills the image.
    return replace(head, deltas=0.2 * head.deltas)


def true(head: StageHead) -> Tensor:
    assert head.deltas is not None
    return posed(head.deltas, head.poses)


def target_of(head: StageHead, confidence: float = 1.0) -> list[Target]:
    view = FrontView(head.surface.positions, head.faces, R)
    images, masks = view.images(true(head))
    shares = 2 * view.displacement(true(head)) - 1
    sure = torch.full((R, R), confidence)
    return [Target(*three, sure) for three in zip(images, masks, shares, strict=True)]


@pytest.mark.parametrize("weights", [STAGE_1, STAGE_2])
def test_the_truth_costs_nothing_but_its_own_size(head: StageHead, weights: LossWeights) -> None:
    objective = Objective(replace(weights, regularisation=0.0), R)
    terms = objective(head, head.poses, true(head), None)
    expected = {field.name for field in fields(weights) if getattr(weights, field.name)} - {"regularisation"}
    assert terms.keys() == expected
    assert all(float(term) == 0 for term in terms.values())
    moved = (0 * true(head)).requires_grad_()
    wrong = objective(head, head.poses, moved, None)
    assert all(wrong[name].item() > 0 for name in expected - {"eye_closure_2d"})
    torch.stack(list(wrong.values())).sum().backward()
    assert moved.grad is not None and moved.grad.isfinite().all() and moved.grad.any()


def test_terms_are_losses_times_weights(head: StageHead) -> None:
    view, still = FrontView(head.surface.positions, head.faces, R), 0 * true(head)
    terms = Objective(STAGE_1, R)(head, head.poses, still + 0.1, None)
    found, expected = view.images(still + 0.1), view.images(true(head))
    naive = {
        "image": 10 * image_loss(found[0], expected[0]),
        "mask": mask_loss(found[1], expected[1]),
        "displacement_2d": displacement_2d_loss(
            view.displacement(still + 0.1), view.displacement(true(head)), view.mask
        ),
        "regularisation": torch.tensor(1e-4 * 3 * 0.1**2),
    }
    assert terms.keys() == naive.keys()
    for name, value in naive.items():
        torch.testing.assert_close(terms[name], value, msg=name)


def test_a_drawn_target_says_what_the_rig_says(head: StageHead) -> None:
    objective, moved = Objective(STAGE_1, R), 0 * true(head) + 0.05
    rigged = objective(head, head.poses, moved, None)
    drawn = objective(replace(head, deltas=None), head.poses, moved, target_of(head))
    assert drawn.keys() == rigged.keys()
    for name, value in rigged.items():
        torch.testing.assert_close(drawn[name], value, rtol=1e-4, atol=1e-7, msg=name)


def test_what_is_not_believed_teaches_nothing(head: StageHead) -> None:
    moved = (0 * true(head)).requires_grad_()
    terms = Objective(replace(STAGE_1, regularisation=0.0), R)(
        replace(head, deltas=None), head.poses, moved, target_of(head, confidence=0.0)
    )
    torch.stack(list(terms.values())).sum().backward()
    assert moved.grad is not None and not moved.grad.any()


def test_targets_of_another_resolution_are_resized(head: StageHead) -> None:
    view = FrontView(head.surface.positions, head.faces, 2 * R)
    images, masks = view.images(true(head))
    shares, sure = 2 * view.displacement(true(head)) - 1, torch.ones(2 * R, 2 * R)
    large = [Target(*three, sure) for three in zip(images, masks, shares, strict=True)]
    blind, objective = replace(head, deltas=None), Objective(STAGE_1, R)
    right, still = (
        float(objective(blind, head.poses, d, large)["displacement_2d"]) for d in (true(head), 0 * true(head))
    )
    assert right < 0.3 * still


def test_landmarks_are_where_poses_move_most() -> None:
    deltas = torch.zeros(P, 9, 3)
    rows = [ARKIT_POSES.index(name) for name in ("browDownLeft", "jawOpen", "mouthPucker")]
    for vertex, row in enumerate(rows):
        deltas[row, 2 * vertex] = 0.5
    marks = landmarks_of(deltas, tuple(rows[:2]))
    points = torch.randn(9, 3)
    assert sorted(marks.corners[:, 0].tolist()) == [0, 2]
    torch.testing.assert_close(marks.on(points), points[marks.corners[:, 0]])
    assert len(landmarks_of(0 * deltas, tuple(rows)).corners) == 0


def test_lids_are_what_a_blink_brings_together() -> None:
    # Brow, upper lid, lower lid, cheek: from top to bottom.
    neutral = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 0.0], [0.02, 0.2, 0.0], [0.0, -0.5, 0.0]])
    deltas = torch.zeros(P, 4, 3)
    deltas[BLINK, 1] = torch.tensor([0.0, -0.28, 0.0])
    deltas[BLINK, 0] = torch.tensor([0.0, -0.05, 0.0])
    upper, lower = lids_of(neutral, deltas, (BLINK,))
    assert (upper.corners.tolist(), lower.corners.tolist()) == ([[1, 1, 1]], [[2, 2, 2]])
    for gone in (lids_of(neutral, 0 * deltas, (BLINK,)), lids_of(neutral, deltas, ())):
        assert len(gone[0].corners) == 0
