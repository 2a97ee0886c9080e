"""Training: it learns, it resumes exactly, and it says what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from raf_runtime.errors import DeviceError, ModelError
from raf_training.batches import HeadPool
from raf_training.checkpoint import load_network
from raf_training.cli import main
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.losses.displacement import displacement_loss
from raf_training.network import CONFIGS, RigNetwork
from raf_training.train import TrainPlan, losses_of, schedule, train, validate

if TYPE_CHECKING:
    from tests.eggs import TINY, Egg, only, write_eggs
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from eggs import TINY, Egg, only, write_eggs


class Interrupted(Exception):
    """Stands for the power cut."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    eggs = [Egg(np.random.default_rng(seed).uniform(1.5, 2.5, 3)) for seed in range(6)]
    write_eggs(folder / "train", eggs[:4])
    write_eggs(folder / "val", eggs[4:])
    return folder


@pytest.fixture
def plan(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainPlan:
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    return TrainPlan(data / "train", data / "val", tmp_path / "run", config="tiny", steps=20, every=10)


def weights_of(plan: TrainPlan) -> dict[str, Tensor]:
    return load_network(plan.out / "weights.safetensors")[0].state_dict()


def break_loss(monkeypatch: pytest.MonkeyPatch, step: int, fault: Callable[[Tensor], Tensor]) -> None:
    """Put a fault into the loss of one step of the next training."""
    losses = iter(range(step + 1))

    def faulty(predicted: Tensor, target: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        loss = displacement_loss(predicted, target, mask, there)
        return fault(loss) if next(losses) == step else loss

    monkeypatch.setattr("raf_training.train.displacement_loss", faulty)


def power_cut(_loss: Tensor) -> Tensor:
    raise Interrupted


def test_a_batch_is_the_mean_of_its_heads(tmp_path: Path) -> None:
    radii = np.random.default_rng(0).uniform(1.5, 2.5, (5, 3))
    write_eggs(tmp_path / "eggs", [Egg(r, i == 1, 1 + i % 2) for i, r in enumerate(radii)])
    torch.manual_seed(0)
    network = RigNetwork(replace(TINY, strangers=True, marks=("jawOpen", "eyeBlinkLeft")))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batch = next(HeadPool(SampleFolder(tmp_path / "eggs"), torch.device("cpu"), 5).batches(0, 0, 1))

    def gradients(losses: Tensor) -> Tensor:
        network.zero_grad()
        losses.mean().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    together = losses_of(network, batch)
    found = gradients(together)
    alone = torch.cat([losses_of(network, only(batch, index)) for index in range(5)])
    expected = gradients(alone)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
    assert len(alone.unique()) == 5
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_it_learns_by_batches(plan: TrainPlan) -> None:
    report = train(replace(plan, steps=120, every=120, batch=4, rate=1e-2, average=0.9))
    assert report["egg"] < 0.2


def test_it_learns(plan: TrainPlan) -> None:
    report = train(replace(plan, steps=120, every=120, rate=1e-2, average=0.9))
    assert set(report) == {"egg"}
    held_out = SampleFolder(plan.val)
    untrained = validate(TINY, RigNetwork(TINY).state_dict(), held_out, torch.device("cpu"))
    assert untrained["egg"] == pytest.approx(1.0)
    assert report["egg"] < 0.2
    assert validate(TINY, weights_of(plan), held_out, torch.device("cpu"))["egg"] == pytest.approx(
        report["egg"]
    )


def test_an_interrupted_run_equals_an_unbroken_one(plan: TrainPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(plan, out=plan.out.with_name("broken"))
    with monkeypatch.context() as patch:
        break_loss(patch, 14, power_cut)
        with pytest.raises(Interrupted):
            train(broken)
    assert json.loads(load_network(broken.out / "weights.safetensors")[1]["training"])["steps_done"] == 10
    resumed, unbroken = train(broken), train(plan)
    assert resumed == pytest.approx(unbroken, rel=1e-6)
    for name, value in weights_of(plan).items():
        torch.testing.assert_close(weights_of(broken)[name], value, rtol=0, atol=1e-6, msg=name)


def test_the_seed_counts(plan: TrainPlan) -> None:
    other = replace(plan, seed=1, out=plan.out.with_name("other"))
    assert train(plan) != train(other)


def test_the_weights_say_where_they_come_from(plan: TrainPlan) -> None:
    train(plan)
    network, about = load_network(plan.out / "weights.safetensors")
    assert network.config == TINY
    assert not network.training
    assert about["attribution"] == "Eggs by nobody (CC0)"
    training = json.loads(about["training"])
    assert (training["steps_done"], training["samples"], training["seed"]) == (20, 4, 0)
    assert training["train"] == plan.train.name
    assert str(plan.out.parent) not in str(about)
    assert json.loads((plan.out / "plan.json").read_text())["steps"] == 20
    assert not list(plan.out.glob("*.tmp"))


def test_losses_and_validations_are_logged(plan: TrainPlan) -> None:
    train(plan)
    (log,) = (plan.out / "logs").iterdir()
    content = log.read_bytes()
    assert b"train/loss" in content and b"val/egg" in content


def test_starts_from_given_weights(plan: TrainPlan) -> None:
    train(plan)
    # A rate of zero keeps them as they are.
    on = replace(plan, out=plan.out.with_name("on"), steps=2, rate=0.0)
    train(replace(on, init=plan.out / "weights.safetensors"))
    assert all(torch.equal(weights_of(on)[name], value) for name, value in weights_of(plan).items())


def test_weights_say_what_those_they_began_with_had_seen(plan: TrainPlan, tmp_path: Path) -> None:
    train(plan)
    other = tmp_path / "other"
    shutil.copytree(plan.train, other)
    (other / "manifest.json").write_text(
        json.dumps({"families": ["egg"], "attribution": {"egg": "Other eggs (MIT)"}})
    )
    on = replace(plan, train=other, out=tmp_path / "on", init=plan.out / "weights.safetensors")
    train(on)
    about = load_network(on.out / "weights.safetensors")[1]
    assert about["attribution"].splitlines() == ["Eggs by nobody (CC0)", "Other eggs (MIT)"]


def test_weights_have_the_digits_of_half_precision(plan: TrainPlan) -> None:
    train(plan)
    weights = weights_of(plan)
    assert all(torch.equal(value, value.half().float()) for name, value in weights.items() if "mix" in name)
    # Times of diffusion are no factors of a product.
    times = weights["trunk.0.log_time"]
    assert not torch.equal(times, times.half().float())


def test_the_rate_falls_only_at_the_end() -> None:
    assert schedule(0, 1000) == pytest.approx(1 / 300)
    assert schedule(299, 1000) == schedule(400, 1000) == 1.0
    assert schedule(700, 1000) == pytest.approx(0.5)
    assert 0 < schedule(999, 1000) < 0.01
    assert all(schedule(step, 1000) == schedule(step, 2000) for step in range(400))


def test_a_loss_that_is_not_finite_stops_the_run(plan: TrainPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    break_loss(monkeypatch, 3, lambda loss: loss * torch.nan)
    with pytest.raises(DataError, match=r"step 3: the loss on a head of egg/one is not finite"):
        train(plan)
    assert not (plan.out / "weights.safetensors").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 and then nothing"])
def test_a_broken_checkpoint_is_refused(plan: TrainPlan, content: bytes) -> None:
    plan.out.mkdir()
    (plan.out / "checkpoint.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"checkpoint\.pt is not a readable checkpoint"):
        train(plan)


def test_a_checkpoint_of_something_else_is_refused(plan: TrainPlan) -> None:
    plan.out.mkdir()
    torch.save({"weights": torch.zeros(3)}, plan.out / "checkpoint.pt")
    with pytest.raises(ModelError, match="not a checkpoint of raf-train"):
        train(plan)


def test_a_checkpoint_of_another_network_is_refused(plan: TrainPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    train(replace(plan, steps=1))
    monkeypatch.setitem(CONFIGS, "wider", replace(TINY, width=24))
    with pytest.raises(ModelError, match="another network"):
        train(replace(plan, config="wider"))


def test_initial_weights_that_cannot_be_used_are_refused(plan: TrainPlan, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        train(replace(plan, init=tmp_path / "missing.safetensors"))
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ModelError, match="not a weights file"):
        train(replace(plan, init=tmp_path / "text.safetensors"))


def test_initial_weights_of_another_configuration_are_refused(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(plan, steps=1))
    monkeypatch.setitem(CONFIGS, "wider", replace(TINY, width=24))
    on = replace(plan, out=plan.out.with_name("on"), config="wider", init=plan.out / "weights.safetensors")
    with pytest.raises(ModelError, match="not of --config wider"):
        train(on)


def test_dead_units_are_revived_until_the_rate_falls(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr("raf_training.train.revive", lambda *call: seeds.append(call[-1]))
    train(replace(plan, steps=20, every=3, seed=100))
    assert seeds == [103, 106]  # it falls from step 8 on


def test_networks_that_answer_one_pose_are_refused(plan: TrainPlan) -> None:
    with pytest.raises(DataError, match="all poses at once"):
        train(replace(plan, config="paper"))


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_cannot_be_had_is_refused(plan: TrainPlan, device: str) -> None:
    with pytest.raises(DeviceError, match="--device cpu"):
        train(replace(plan, device=device))


def test_the_command_trains(plan: TrainPlan) -> None:
    folders = ["--train", str(plan.train), "--val", str(plan.val), "--out", str(plan.out)]
    assert main(["rig", *folders, "--config", "tiny", "--steps", "2"]) == 0
    assert weights_of(plan)


def test_the_command_names_bad_data(
    plan: TrainPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--train", str(tmp_path), "--val", str(plan.val), "--out", str(plan.out)]
    assert main(["rig", *folders]) == 2
    error = capsys.readouterr().err
    assert error.startswith("raf-train: ") and "raf-data build" in error
    assert not plan.out.exists()


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_sample_stops_a_training_before_it_writes(
    plan: TrainPlan, tmp_path: Path, split: str
) -> None:
    folder = Path(shutil.copytree(plan.train.parent, tmp_path / "data"))
    last = sorted((folder / split).glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{last.name} is not a readable sample"):
        train(replace(plan, train=folder / "train", val=folder / "val"))
    assert not plan.out.exists()
