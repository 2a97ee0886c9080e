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

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import ModelError
from raf_runtime.operators import Operators
from raf_training.checkpoint import load_network, save_weights
from raf_training.data.build import STRANGE
from raf_training.dataset import MIRRORED_POSES, SampleFolder
from raf_training.network import CONFIGS, NetworkConfig, RigNetwork
from raf_training.strangers import Judge, learn_strangers
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


def write_folder(folder: Path, seeds: range, strangers: bool | None = None) -> Path:
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
        strange = seed % 2 == 0 if strangers is None else strangers
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


@pytest.mark.parametrize("strange", [0.0, 1.0])
@torch.no_grad()
def test_untaught_nobody_is_a_stranger(data: Path, strange: float) -> None:
    network, surface = moving(), SampleFolder(data / "val")[0].surface
    assert network.judge is not None
    assert float(network.judge(network.anchors(surface))) < 1e-4
    told, alone = network(surface, strange=strange), network(surface)
    assert (float((told - alone).abs().max()) > 0.1) == bool(strange)


@torch.no_grad()
def test_the_network_goes_by_its_judge(data: Path) -> None:
    network, surface = moving(), SampleFolder(data / "val")[0].surface
    assert network.judge is not None
    network.judge.verdict.bias.fill_(0.0)
    torch.testing.assert_close(network(surface), network(surface, strange=0.5))


def test_a_judge_learns_who_is_a_stranger_and_the_network_stays(data: Path) -> None:
    network = moving()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    judge, again = (learn_strangers(network, SampleFolder(data / "train"), 3, CPU) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in judge.state_dict().items())
    heads = SampleFolder(data / "val")
    with torch.no_grad():
        for i in range(len(heads)):
            assert float(judge(network.anchors(heads[i].surface))) == pytest.approx(
                float(heads[i].strange), abs=0.4
            )


@pytest.mark.parametrize("strangers", [False, True])
def test_of_one_kind_everybody_is(tmp_path: Path, strangers: bool) -> None:
    heads, network = SampleFolder(write_folder(tmp_path / "train", range(3), strangers)), RigNetwork(TINY)
    judge = learn_strangers(network, heads, 0, CPU)
    with torch.no_grad():
        said = float(judge(network.anchors(heads[0].surface)))
    assert said == pytest.approx(float(strangers), abs=1e-4)


def test_known_faces_and_strangers_move_in_ways_of_their_own(plan: TrainPlan) -> None:
    report = train(replace(plan, steps=300, every=300, rate=1e-2, average=0.9))
    assert report["egg"] < 0.4
    network, _ = load_network(plan.out / "weights.safetensors")
    found = validate(network.config, network.state_dict(), SampleFolder(plan.val), CPU)
    assert found["egg"] == pytest.approx(report["egg"])
    # Without its judge it takes strangers for faces that it knows.
    network.judge = Judge(TINY.anchors)
    assert (
        validate(network.config, network.state_dict(), SampleFolder(plan.val), CPU)["egg"] > 2 * report["egg"]
    )


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
