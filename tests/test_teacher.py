"""The animator: it starts from the neutral head, learns, and is believed where it agrees with itself in a mirror."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES
from raf_training.batches import MIRRORED_POSES
from raf_training.data.rocketbox import ATTRIBUTION, RocketboxHead
from raf_training.dataset import SampleFolder
from raf_training.posing import pose_vectors, posed
from raf_training.stages.heads import StageData
from raf_training.stages.targets import TargetFolder
from raf_training.stages.views import FrontView
from raf_training.teacher.consistency import LEAST, consistent_targets
from raf_training.teacher.network import Drawing, TeacherConfig, TeacherNetwork
from raf_training.teacher.run import draw_targets
from raf_training.teacher.training import displacement_error, drawing_loss, train_teacher, view_of

if TYPE_CHECKING:
    from tests.stage_heads import write_samples
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_heads import write_samples

TINY = TeacherConfig(resolution=32, width=8, hidden=16)
SMILES = [ARKIT_POSES.index(f"mouthSmile{side}") for side in ("Left", "Right")]


class Scripted(TeacherNetwork):
    """Draws the same motion to the left and up in the left half, whatever it sees; more of it in some poses."""

    def __init__(self, scale: Tensor, mirrors: bool) -> None:
        super().__init__(TINY)
        self.scale, self.mirrors = scale, mirrors

    def forward(self, pictures: Tensor, pose: Tensor) -> Drawing:
        size = pictures.shape[-1]
        motion = torch.zeros(len(pictures), size, size, 2)
        motion[:, :, : size // 2] = torch.tensor([-0.05, -0.02])
        if self.mirrors:
            right = pose[:, SMILES[1]] > 0
            motion[right] = motion[right].flip(2) * torch.tensor([-1.0, 1.0])
        amount = (pose @ self.scale)[:, None, None, None]
        return Drawing(pictures[:, 1], pictures[:, 0], motion * amount)


def pictures() -> Tensor:
    ball = trimesh.creation.icosphere(subdivisions=2, radius=2.5)
    points = torch.from_numpy(np.array(ball.vertices, np.float32))
    return FrontView(points, torch.from_numpy(np.array(ball.faces, np.int64)), TINY.resolution).pictures()


def test_pictures_show_mask_shade_depth_and_normals() -> None:
    mask, shade, depth, *normal = pictures()
    centre = TINY.resolution // 2
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (shade[mask > 0] > 0).all() and not shade[mask == 0].any()
    assert depth[centre, centre] == pytest.approx(2.5 / 3.2, abs=0.05)
    torch.testing.assert_close(torch.stack(normal).norm(dim=0), mask, rtol=0, atol=1e-4)
    assert normal[2][centre, centre] > 0.98 and normal[0][centre, centre + 8] > 0.2
    assert normal[1][centre - 8, centre] > 0.2


def test_an_untrained_animator_draws_the_neutral_head() -> None:
    drawn = TeacherNetwork(TINY)(pictures()[None].expand(2, -1, -1, -1), pose_vectors([3, 4]))
    assert drawn.displacement.shape == (2, 32, 32, 2) and not drawn.displacement.any()
    assert torch.equal(drawn.image[0], pictures()[1])
    assert torch.equal(drawn.mask_logit[0] > 0, pictures()[0] > 0)


def test_what_mirrors_itself_is_believed() -> None:
    scale = torch.ones(len(ARKIT_POSES))
    both = [
        consistent_targets(Scripted(scale, mirrors), pictures(), pictures(), SMILES)
        for mirrors in (True, False)
    ]
    for target, confidence in both[0]:
        assert confidence == pytest.approx(1.0)
        assert (target.confidence == 1).all()
    for _, confidence in both[1]:
        assert confidence < 0.2
    left, right = (target.displacement for target, _ in both[0])
    torch.testing.assert_close(left.flip(1) * torch.tensor([-1.0, 1.0]), right)
    assert MIRRORED_POSES[SMILES[0]] == SMILES[1]


def test_what_moves_nothing_visible_is_not_believed() -> None:
    scale = torch.ones(len(ARKIT_POSES))
    scale[SMILES] = 0.01
    ((_, confidence),) = consistent_targets(Scripted(scale, True), pictures(), pictures(), SMILES[:1])
    assert confidence == 0


def test_the_loss_is_zero_only_at_the_truth() -> None:
    random = torch.Generator().manual_seed(0)
    image, mask = torch.rand(2, 8, 8, generator=random), torch.rand(2, 8, 8, generator=random).round()
    motion, shown = torch.randn(2, 8, 8, 2, generator=random), torch.ones(2, 8, 8)
    right = drawing_loss(Drawing(image, 200 * (mask - 0.5), motion), image, mask, motion, shown)
    assert float(right) < 1e-3
    for wrong in (
        Drawing(image + 0.1, 200 * (mask - 0.5), motion),
        Drawing(image, 0 * mask, motion),
        Drawing(image, 200 * (mask - 0.5), 1.1 * motion),
    ):
        assert float(drawing_loss(wrong, image, mask, motion, shown)) > 0.1
    # Motions count where the neutral head is.
    beside = Drawing(image, 200 * (mask - 0.5), motion + 1)
    assert float(drawing_loss(beside, image, mask, motion, 0 * shown)) < 1e-3


def test_it_learns_from_rigs_resumes_and_draws(tmp_path: Path) -> None:
    data = StageData(SampleFolder(write_samples(tmp_path / "train", range(2))))
    device = torch.device("cpu")
    (tmp_path / "out").mkdir()
    head = data.head(0)
    assert head.deltas is not None
    moved = posed(head.deltas, head.poses)
    network = train_teacher(data, TINY, tmp_path / "out", 40, 0, device)
    assert displacement_error(network, view_of(head, network), head.poses, moved) < 0.85
    again = train_teacher(data, TINY, tmp_path / "out", 40, 0, device)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name

    ball = trimesh.creation.icosphere(subdivisions=2, radius=2.0)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces, np.int64)
    worn = np.zeros(len(faces), np.bool_)
    rocketbox = RocketboxHead("Someone", vertices, faces, worn, np.eye(3), held_out=False)
    scripted = Scripted(torch.eye(len(ARKIT_POSES))[SMILES].sum(0), True)
    kept = draw_targets(scripted, [rocketbox], tmp_path / "targets", ["Eggs by nobody (CC0)"], device)
    assert kept == pytest.approx(2 / len(ARKIT_POSES)) and LEAST < 1
    targets = TargetFolder(tmp_path / "targets")
    assert targets.names == ["Someone"] and list(targets.rows(0)) == SMILES
    assert set(targets.attribution.values()) == {ATTRIBUTION, "Eggs by nobody (CC0)"}
    # Stage 1 can read it.
    assert StageData(SampleFolder(tmp_path / "train"), targets).poses[-1] == tuple(SMILES)
