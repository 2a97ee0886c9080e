"""Faces unlike those of every rig: a network learns to tell them, and to move them in a way of their own."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from raf_runtime.errors import ModelError
from raf_training import strangers
from raf_training.batches import OneByOne
from raf_training.checkpoint import load_network, save_weights
from raf_training.dataset import SampleFolder
from raf_training.network import CONFIGS, RigNetwork
from raf_training.strangers import Judge, learn_families
from raf_training.train import TrainPlan, train, validate

if TYPE_CHECKING:
    from tests.eggs import TINY as KNOWN_ONLY
    from tests.eggs import known_and_strange, write_eggs
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from eggs import TINY as KNOWN_ONLY
    from eggs import known_and_strange, write_eggs

TINY = replace(KNOWN_ONLY, strangers=True)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eggs")
    write_eggs(folder / "train", known_and_strange(range(40)))
    write_eggs(folder / "val", known_and_strange(range(40, 48)))
    return folder


@pytest.fixture
def plan(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainPlan:
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    return TrainPlan(data / "train", data / "val", tmp_path / "run", config="tiny", steps=10, every=10)


def moving() -> RigNetwork:
    torch.manual_seed(0)
    network = RigNetwork(TINY)
    for parameter in network.head[-1].parameters():
        torch.nn.init.normal_(parameter)
    assert network.strange is not None
    torch.nn.init.normal_(network.strange)
    return network.eval()


@torch.no_grad()
def test_without_families_nobody_is_a_stranger(data: Path) -> None:
    network, surface = moving(), SampleFolder(data / "val")[0].surface
    assert torch.equal(network(surface), network(surface, strange=0.0))
    assert float((network(surface) - network(surface, strange=1.0)).abs().max()) > 0.1


@torch.no_grad()
def test_the_network_goes_by_its_judge(data: Path) -> None:
    network, surface = moving(), SampleFolder(data / "val")[0].surface
    network.judge = Judge(1, 3 * TINY.anchors + TINY.encoder_width)
    network.judge.border = network.judge.log_distance(network.summary(surface))
    torch.testing.assert_close(network(surface), network(surface, strange=0.5))


@torch.no_grad()
def test_distance_is_that_of_mahalanobis_from_the_nearest_family() -> None:
    """Against SciPy, on summaries that are drawn from two normal distributions."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, 5, 5))
    drawn = [rng.standard_normal((4000, 5)) @ mixing[0], rng.standard_normal((4000, 5)) @ mixing[1] + 9]
    known = torch.from_numpy(np.concatenate(drawn))
    judge = strangers._judge(known, torch.arange(2).repeat_interleave(4000), 2)
    for point in (drawn[0][0], drawn[1][0], np.zeros(5), np.full(5, 20.0)):
        squares = []
        for own in drawn:
            covariance = np.cov(own.T, bias=True)
            covariance += np.eye(5) * strangers.SHRINK * np.trace(covariance) / 5
            squares.append(mahalanobis(point, own.mean(0), np.linalg.inv(covariance)) ** 2 / 5)
        assert float(judge.log_distance(torch.from_numpy(point).float())) == pytest.approx(
            np.log(min(squares)), abs=1e-3
        )


def test_families_are_known_and_strangers_not_and_the_network_stays(data: Path) -> None:
    network = moving()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    (families, judge), (_, again) = (
        learn_families(network, OneByOne(SampleFolder(data / "train"), CPU), ("egg",), 3) for _ in range(2)
    )
    assert families == ("egg",)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in judge.state_dict().items())
    heads = SampleFolder(data / "val")
    with torch.no_grad():
        for i in range(len(heads)):
            said = float(judge(network.summary(heads[i].surface)))
            assert said == pytest.approx(float(heads[i].strange), abs=0.4)


@pytest.mark.parametrize("strange", [False, True])
def test_of_strangers_alone_no_family_is_known(tmp_path: Path, strange: bool) -> None:
    heads, network = (
        SampleFolder(write_eggs(tmp_path / "train", known_and_strange(range(8), strange))),
        moving(),
    )
    _, judge = learn_families(network, OneByOne(heads, CPU), heads.families, 0)
    with torch.no_grad():
        said = [float(judge(network.summary(heads[i].surface))) for i in range(len(heads))]
    assert min(said) > 0.99 if strange else max(said) < 0.6


def test_known_faces_and_strangers_move_in_ways_of_their_own(plan: TrainPlan) -> None:
    report = train(replace(plan, steps=300, every=300, rate=1e-2, average=0.9))
    assert report["egg"] < 0.4
    network, _ = load_network(plan.out / "weights.safetensors")
    assert network.config == replace(TINY, families=("egg",))
    held_out = SampleFolder(plan.val)
    assert validate(network.config, network.state_dict(), held_out, CPU)["egg"] == pytest.approx(
        report["egg"]
    )
    # Without its judge it takes strangers for faces that it knows.
    assert network.judge is not None
    network.judge.border.fill_(99.0)
    assert validate(network.config, network.state_dict(), held_out, CPU)["egg"] > 2 * report["egg"]
    # Another training may start from it.
    train(replace(plan, out=plan.out / "again", init=plan.out / "weights.safetensors", steps=1, every=1))


def test_older_weights_begin_with_nobody(plan: TrainPlan, tmp_path: Path) -> None:
    older = replace(TINY, strangers=False)
    torch.manual_seed(1)
    network = RigNetwork(older)
    save_weights(tmp_path / "older.safetensors", network.state_dict(), older, {})
    with pytest.raises(ModelError, match="not of --config"):
        train(replace(plan, init=tmp_path / "older.safetensors", config="default"))
    train(replace(plan, init=tmp_path / "older.safetensors", steps=1, every=1, rate=0.0))
    started = load_network(plan.out / "weights.safetensors")[0].state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(started[name], value, atol=1e-3, rtol=1e-3)
