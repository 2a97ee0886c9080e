"""Faces unlike those of every rig: a network learns to tell them, and to move them in a way of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from safetensors.numpy import save_file
from scipy.spatial.distance import mahalanobis

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import ModelError
from raf_runtime.operators import Operators
from raf_training import strangers
from raf_training.checkpoint import load_network, save_weights
from raf_training.data.build import STRANGE
from raf_training.dataset import MIRRORED_POSES, SampleFolder
from raf_training.network import CONFIGS, NetworkConfig, RigNetwork
from raf_training.strangers import Judge, learn_families
from raf_training.train import TrainPlan, train, validate

P = len(ARKIT_POSES)
TINY = NetworkConfig(
    eigenpairs=12,
    width=16,
    gradients=8,
    trunk_blocks=1,
    encoder_width=8,
    encoder_gradients=4,
    encoder_blocks=1,
    anchors=4,
    frequencies=1,
    strangers=True,
)
CPU = torch.device("cpu")


def write_folder(folder: Path, seeds: range, all_strange: bool | None = None) -> Path:
    """Eggs that are tall or wide, which are strangers: the poses of these go the other way."""
    folder.mkdir()
    (folder / "manifest.json").write_text(
        json.dumps({"families": ["egg"], "attribution": {"egg": "Eggs by nobody (CC0)"}})
    )
    ball = trimesh.creation.icosphere(subdivisions=1)
    motion = 0.1 * np.random.default_rng(0).standard_normal((P, 3, 3))
    flip = np.array([-1.0, 1.0, 1.0])
    motion = motion + flip[:, None] * motion[MIRRORED_POSES.numpy()] * flip
    for seed in seeds:
        rng = np.random.default_rng(seed)
        strange = seed % 2 == 0 if all_strange is None else all_strange
        radii = rng.uniform(1.9, 2.1, 3) * ([1.3, 0.8, 1.0] if strange else [0.9, 1.2, 1.0])
        vertices, faces = np.asarray(ball.vertices) * radii, np.asarray(ball.faces, dtype=np.int64)
        operators = Operators.build(vertices, faces, np.zeros(len(vertices), np.int64), TINY.eigenpairs)
        deltas = np.einsum("pij,vj->pvi", -motion if strange else motion, vertices)
        arrays = {"deltas": deltas.astype(np.float16), "mask": np.ones(P, dtype=np.bool_)}
        about = {"source": "egg/wide" if strange else "egg/tall"} | ({STRANGE: "yes"} if strange else {})
        save_file(operators.as_inputs() | arrays, folder / f"{seed:06d}.safetensors", metadata=about)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eggs")
    write_folder(folder / "train", range(40))
    write_folder(folder / "val", range(40, 48))
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
        learn_families(network, SampleFolder(data / "train"), 3, CPU) for _ in range(2)
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
    heads, network = SampleFolder(write_folder(tmp_path / "train", range(8), strange)), moving()
    _, judge = learn_families(network, heads, 0, CPU)
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
