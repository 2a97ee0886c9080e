"""What the stages learn from: the schedule, the order, the 2D targets, and bad data named before the first step."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from raf_runtime.contract import ARKIT_POSES
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.network import CONFIGS, RigNetwork
from raf_training.posing import pose_vectors, posed, predict_rig, rows_to_pose
from raf_training.stages.heads import StageData
from raf_training.stages.lessons import lessons
from raf_training.stages.schedule import Order, cosine_restarts
from raf_training.stages.targets import TargetFolder

if TYPE_CHECKING:
    from tests.stage_heads import POSES, P, random_target, write_samples, write_targets
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_heads import POSES, P, random_target, write_samples, write_targets

OPEN, CLOSE = ARKIT_POSES.index("jawOpen"), ARKIT_POSES.index("mouthClose")
ROWS = tuple(sorted(ARKIT_POSES.index(name) for name in POSES))


def test_the_rate_is_torchs_after_a_warm_up() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=1.0)
    restarts = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=30)
    for step in range(90):
        assert cosine_restarts(10 + step, 100, warm_up=10, cycles=3) == pytest.approx(
            optimizer.param_groups[0]["lr"], abs=1e-9
        )
        optimizer.step()
        restarts.step()
    assert [cosine_restarts(step, 100, 10, 3) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert cosine_restarts(99, 100, 10, 3) < 0.01


def test_a_run_that_is_all_warm_up_is_refused() -> None:
    with pytest.raises(DataError, match="all warm-up"):
        cosine_restarts(0, 15_724, warm_up=20_000, cycles=3)


def test_an_epoch_visits_every_pose_of_every_head_once() -> None:
    poses = [(1, 2, 3, 4, 5), (), (7, 8), (9,)]
    order = Order(poses, at_once=2, seed=3)
    assert len(order) == 3 + 0 + 1 + 1
    for epoch in range(3):
        items = [order[epoch * len(order) + place] for place in range(len(order))]
        seen = Counter((item.head, row) for item in items for row in item.poses)
        assert seen == Counter((head, row) for head, rows in enumerate(poses) for row in rows)
    first, second = ([order[e * len(order) + i] for i in range(len(order))] for e in (0, 1))
    assert first != second
    assert first != [Order(poses, 2, seed=4)[i] for i in range(len(order))]


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(DataError, match="no head has any pose"):
        Order([(), ()], at_once=1, seed=0)


def test_closing_the_mouth_is_asked_for_on_the_open_jaw() -> None:
    vectors = pose_vectors([OPEN, CLOSE, 3])
    assert vectors.sum(1).tolist() == [1, 2, 1]
    assert vectors[1, OPEN] == vectors[1, CLOSE] == 1
    deltas = torch.randn(P, 4, 3)
    # What a linear rig shows under these vectors is what it is compared with.
    torch.testing.assert_close(posed(deltas, [OPEN, CLOSE, 3]), torch.einsum("bp,pvc->bvc", vectors, deltas))
    mask = torch.zeros(P, dtype=torch.bool)
    mask[[CLOSE, 3]] = True
    assert rows_to_pose(mask) == (3,)
    mask[OPEN] = True
    assert rows_to_pose(mask) == (3, OPEN, CLOSE)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return write_samples(tmp_path / "train", range(2)), write_targets(tmp_path / "unrigged", range(5, 7))


def test_a_rig_of_single_poses_is_what_the_poses_say(folders: tuple[Path, Path]) -> None:
    network = RigNetwork(CONFIGS["small"]).double()
    nn.init.normal_(network.get_parameter("head.2.weight"))
    surface = StageData(SampleFolder(folders[0])).head(0).surface
    surface = type(surface)(**{name: value.double() for name, value in vars(surface).items()})
    shapes = predict_rig(network, surface, at_once=5)
    rows = [0, OPEN, CLOSE, P - 1]
    with torch.no_grad():
        asked = network(surface, pose_vectors(rows).double())
    torch.testing.assert_close(posed(shapes, rows), asked)
    assert (shapes[CLOSE] - asked[2]).abs().max() > 1e-3


def test_targets_come_back_as_they_were_written(folders: tuple[Path, Path]) -> None:
    targets = TargetFolder(folders[1])
    assert targets.names == ["head5", "head6"] and targets.resolution == 16
    assert targets.rows(1) == ROWS
    found = targets.read(1, ARKIT_POSES.index(POSES[2]))
    expected = random_target(16, 62)
    torch.testing.assert_close(found.image, expected.image, rtol=0, atol=0.51 / 255)
    torch.testing.assert_close(found.confidence, expected.confidence, rtol=0, atol=0.51 / 255)
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.displacement, expected.displacement, rtol=0, atol=1e-4)
    assert not [*folders[1].rglob("*.tmp")]


def test_rigged_and_unrigged_heads_are_learned_from_together(folders: tuple[Path, Path]) -> None:
    data = StageData(SampleFolder(folders[0]), TargetFolder(folders[1]))
    assert len(data) == 4 and data.poses == [ROWS] * 4
    assert data.attribution == ["Eggs by nobody (CC0)", "More eggs (CC0)"]
    assert data.head(0).deltas is not None and data.head(2).deltas is None
    order = Order(data.poses, at_once=2, seed=0)
    together = [*lessons(data, order, range(4), batch=2)]
    apart = [[*lessons(data, order, range(4), batch=1, rank=rank, processes=2)] for rank in range(2)]
    for step in range(4):
        for rank in range(2):
            one, other = together[step][rank], apart[rank][step][0]
            assert (one.head.source, one.rows) == (other.head.source, other.rows)
            assert (one.targets is None) == one.head.source.startswith("egg")
    resumed = [*lessons(data, order, range(2, 4), batch=2)]
    assert [x.rows for step in resumed for x in step] == [x.rows for step in together[2:] for x in step]


def change_sample(folders: tuple[Path, Path], change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    path = folders[0] / "000001.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"source": "egg/one"})


def fewer_vertices(folders: tuple[Path, Path]) -> None:
    change_sample(folders, lambda t: t.update(deltas=t["deltas"][:, :-1].contiguous()))


def not_a_number(folders: tuple[Path, Path]) -> None:
    change_sample(folders, lambda t: t["deltas"][3, 2].fill_(torch.nan))


def a_pose_too_few(folders: tuple[Path, Path]) -> None:
    change_sample(folders, lambda t: t.update(deltas=t["deltas"][:-1].contiguous()))


def truncated(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "000001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_triangles(folders: tuple[Path, Path]) -> None:
    change_sample(folders, lambda t: t.pop("faces"))


def triangles_of_another_mesh(folders: tuple[Path, Path]) -> None:
    change_sample(folders, lambda t: t["faces"][0].fill_(42))


def target_file(folders: tuple[Path, Path], name: str) -> Path:
    return folders[1] / "head6" / "front" / name


def missing_target(folders: tuple[Path, Path]) -> None:
    target_file(folders, "jawOpen.mask.png").unlink()


def truncated_picture(folders: tuple[Path, Path]) -> None:
    path = target_file(folders, "jawOpen.image.png")
    path.write_bytes(path.read_bytes()[:-60])


def picture_of_another_size(folders: tuple[Path, Path]) -> None:
    Image.new("L", (16, 20)).save(target_file(folders, "jawOpen.image.png"))


def displacement_not_a_number(folders: tuple[Path, Path]) -> None:
    wrong = torch.full((16, 16, 2), torch.nan)
    save_file({"displacement": wrong}, target_file(folders, "jawOpen.safetensors"))


def displacement_of_another_size(folders: tuple[Path, Path]) -> None:
    save_file({"displacement": torch.zeros(16, 16, 3)}, target_file(folders, "jawOpen.safetensors"))


def truncated_displacement(folders: tuple[Path, Path]) -> None:
    path = target_file(folders, "jawOpen.safetensors")
    path.write_bytes(path.read_bytes()[:-9])


def change_manifest(folders: tuple[Path, Path], key: str, value: object) -> None:
    path = folders[1] / "targets.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def unknown_pose(folders: tuple[Path, Path]) -> None:
    change_manifest(folders, "heads", {"head6": ["jawOpen", "jawOpened"]})


def head_elsewhere(folders: tuple[Path, Path]) -> None:
    change_manifest(folders, "heads", {"../head6": ["jawOpen"]})


def truncated_manifest(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "targets.json"
    path.write_text(path.read_text()[:-20])


def huge(folders: tuple[Path, Path]) -> None:
    change_manifest(folders, "resolution", 10**9)


DEFECTS: dict[Callable[[tuple[Path, Path]], None], str] = {
    fewer_vertices: r"000001\.safetensors: deltas is not \(52, 42, 3\)",
    not_a_number: r"000001\.safetensors: deltas is not .* finite",
    a_pose_too_few: r"000001\.safetensors: deltas is not \(52, 42, 3\)",
    truncated: r"000001\.safetensors is not a readable sample",
    no_triangles: r"000001\.safetensors has no triangles to render",
    triangles_of_another_mesh: r"000001\.safetensors: faces reference vertices 0 to 42; there are 42",
    missing_target: r"jawOpen\.mask\.png is not a readable PNG",
    truncated_picture: r"jawOpen\.image\.png is not a readable PNG",
    picture_of_another_size: r"jawOpen\.image\.png is 16 x 20 L, not 16 x 16",
    displacement_not_a_number: r"jawOpen\.safetensors: displacement has values that are not finite",
    displacement_of_another_size: r"jawOpen\.safetensors: displacement is \(16, 16, 3\)",
    truncated_displacement: r"jawOpen\.safetensors is not a readable displacement",
    unknown_pose: r"head head6 has an unknown pose 'jawOpened'",
    head_elsewhere: r"'\.\./head6' cannot be the name of a head",
    truncated_manifest: r"targets\.json is damaged",
    huge: r"resolution 1000000000 is not between",
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_bad_data_is_named(folders: tuple[Path, Path], defect: Callable[[tuple[Path, Path]], None]) -> None:
    StageData(SampleFolder(folders[0]), TargetFolder(folders[1]))
    defect(folders)
    with pytest.raises(DataError, match=DEFECTS[defect]):
        StageData(SampleFolder(folders[0]), TargetFolder(folders[1]))


def test_a_head_that_is_no_head_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[1] / "head6.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"mass": np.nan * tensors["mass"]}, path)
    with pytest.raises(DataError, match=r"head6\.safetensors: mass is not \(42,\) finite numbers"):
        StageData(SampleFolder(folders[0]), TargetFolder(folders[1]))
    path.unlink()
    with pytest.raises(DataError, match=r"head6\.safetensors is not a readable head"):
        StageData(SampleFolder(folders[0]), TargetFolder(folders[1]))
