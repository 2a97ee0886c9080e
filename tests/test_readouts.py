"""Last layers for each family: what they are, and how they are learned."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import ModelError
from raf_training import readout_training
from raf_training.blocks import DiffusionBlock
from raf_training.checkpoint import half_digits, load_network, save_weights
from raf_training.cli import main
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.losses.displacement import displacement_loss, pose_weights
from raf_training.network import CONFIGS, RigNetwork
from raf_training.readout_training import ReadoutPlan, Rows, train_readouts
from raf_training.readouts import BlendedLinear
from raf_training.train import TrainPlan, train, validate

if TYPE_CHECKING:
    from tests.eggs import TINY, known_and_strange, write_eggs
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from eggs import TINY, known_and_strange, write_eggs

TOLD = replace(TINY, strangers=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples, and weights that have learned a little from them."""
    folder = tmp_path_factory.mktemp("eggs")
    write_eggs(folder / "train", known_and_strange(range(24), sizes=2))
    write_eggs(folder / "val", known_and_strange(range(24, 30), sizes=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CONFIGS, "tiny", TOLD)
        train(TrainPlan(folder / "train", folder / "val", folder / "run", config="tiny", steps=60, every=60))
    return folder


@pytest.fixture
def plan(data: Path, tmp_path: Path) -> ReadoutPlan:
    return ReadoutPlan(
        (data / "train",),
        data / "val",
        tmp_path / "out",
        data / "run" / "weights.safetensors",
        rows=50,
        steps=150,
    )


def weights_of(plan: ReadoutPlan) -> RigNetwork:
    return load_network(plan.out / "weights.safetensors")[0]


def loss_of(network: RigNetwork, heads: SampleFolder) -> float:
    samples = [heads[index] for index in range(len(heads))]
    with torch.no_grad():
        losses = [displacement_loss(network(s.surface), s.deltas, s.mask) for s in samples]
    return float(torch.stack(losses).mean())


def test_weights_are_a_mean_by_shares() -> None:
    layer = BlendedLinear(3, 4, 5)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, shares = torch.randn(7, 4), torch.tensor([0.2, 0.0, 0.8])
    alone = [layer(x, torch.eye(3)[number]) for number in range(3)]
    assert torch.equal(alone[1], x @ layer.weight[1] + layer.bias[1])
    torch.testing.assert_close(layer(x, shares), 0.2 * alone[0] + 0.8 * alone[2])


@torch.no_grad()
def test_a_head_is_read_out_by_its_shares(data: Path) -> None:
    plain, _ = load_network(data / "run" / "weights.safetensors")
    network = RigNetwork(replace(plain.config, readouts=True)).eval()
    network.load_state_dict(plain.state_dict(), strict=False)
    assert network.readouts is not None
    last = plain.trunk[-1]
    assert isinstance(last, DiffusionBlock)
    layers = nn.Sequential(last.mix, plain.head)
    network.readouts.take([layers, layers])
    surface = SampleFolder(data / "val")[0].surface
    torch.testing.assert_close(network(surface), plain(surface), rtol=0, atol=1e-6)
    for parameter in network.readouts.parameters():
        parameter[1].zero_()  # strangers do not move
    assert torch.equal(network(surface, strange=1.0), torch.zeros_like(plain(surface)))
    torch.testing.assert_close(network(surface, strange=0.0), plain(surface, strange=0.0), rtol=0, atol=1e-6)


@torch.no_grad()
def test_shares_sum_to_one_and_the_nearest_family_has_most(data: Path) -> None:
    network, _ = load_network(data / "run" / "weights.safetensors")
    assert network.judge is not None
    judge = network.judge
    judge.middle = torch.cat([judge.middle, judge.middle + 1.0])
    judge.whitening = judge.whitening.expand(2, -1, -1)
    for summary, nearest in ((judge.middle[0], 0), (judge.middle[1], 1)):
        for strange in (0.0, 0.25, 1.0):
            shares = judge.shares(summary, strange)
            assert float(shares.sum()) == pytest.approx(1)
            assert float(shares[-1]) == strange
            assert float(shares[nearest]) == pytest.approx(1 - strange, abs=1e-3)


def test_a_family_learns_its_own_and_all_else_stays(plan: ReadoutPlan, data: Path) -> None:
    before, _ = load_network(plan.init)
    figures = train_readouts(plan)
    after, heads = weights_of(plan), SampleFolder(data / "train")
    assert after.config == replace(before.config, readouts=True)
    kept = before.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in after.state_dict().items() if name in kept)
    assert loss_of(after, heads.of("egg")) < 0.9 * loss_of(before, heads.of("egg"))
    strange = next(sample for sample in map(heads.__getitem__, range(len(heads))) if sample.strange)
    with torch.no_grad():
        moved, moved_before = (network(strange.surface, strange=1.0) for network in (after, before))
    torch.testing.assert_close(moved, moved_before, rtol=0, atol=1e-6)
    assert figures == validate(
        after.config, after.state_dict(), SampleFolder(data / "val"), torch.device("cpu")
    )


def test_shapes_that_a_rig_lacks_are_those_of_the_network(plan: ReadoutPlan, data: Path) -> None:
    lacking = ARKIT_POSES.index("mouthPucker")
    heads = shutil.copytree(data / "train", plan.out.with_name("lacking"))
    for path in heads.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            kept = {name: file.get_tensor(name).copy() for name in file.keys()}
            kept["mask"][lacking], kept["deltas"][lacking] = False, 7.0
            save_file(kept, path, metadata=file.metadata())
    network, _ = load_network(plan.init)
    rows = readout_training._rows(network, [SampleFolder(heads)], "egg", replace(plan, rows=1000))
    found = list[Tensor]()

    def keep(_: nn.Module, inputs: object, output: Tensor) -> None:
        found.append(output)

    network.register_forward_hook(keep)
    readout_training._rows(network, [SampleFolder(heads)], "egg", replace(plan, rows=1000))
    assert len(found) == len(rows.of_distance)
    for head, own in enumerate(found):
        # Which rows are of which vertices does not matter here.
        there, wanted = rows.deltas[rows.head == head, lacking].float(), own[lacking]
        torch.testing.assert_close(there.sort(0).values, wanted.sort(0).values, rtol=0, atol=1e-3)
        assert rows.of_distance[head, lacking] > 0


def test_rows_have_the_weights_of_their_own_head(plan: ReadoutPlan) -> None:
    network, _ = load_network(plan.init)
    rows = readout_training._rows(network, [SampleFolder(plan.train[0])], "egg", replace(plan, rows=1000))
    everything = torch.ones(rows.deltas.shape[1], dtype=torch.bool)
    sizes = set[int]()
    for head in range(len(rows.of_distance)):
        deltas = rows.deltas[rows.head == head].float().transpose(0, 1)
        size = deltas.shape[1]
        of_distance, of_square = pose_weights(deltas, everything, torch.full((size,), 1 / size))
        torch.testing.assert_close(rows.of_distance[head], of_distance, rtol=1e-3, atol=0)
        torch.testing.assert_close(rows.of_square[head], of_square, rtol=3e-3, atol=0)
        sizes.add(size)
    assert len(sizes) == 2  # heads of unlike sizes, which come in an order of their own


def test_an_interrupted_run_goes_on_with_the_next_family(
    plan: ReadoutPlan, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, about = load_network(plan.init)
    assert network.judge is not None
    judge = {
        name: value.expand(2, *value.shape[1:])
        for name, value in network.judge.state_dict().items()
        if value.ndim
    }
    config = replace(network.config, families=("egg", "roe"))
    weights = network.state_dict() | {f"judge.{name}": value for name, value in judge.items()}
    del about["config"]
    save_weights(tmp_path / "two.safetensors", weights, config, about)
    roe = tmp_path / "roe"
    shutil.copytree(data / "train", roe)
    for path in roe.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            kept = {name: file.get_tensor(name) for name in file.keys()}
            save_file(kept, path, metadata={**file.metadata(), "source": "roe/one"})
    plan = replace(plan, train=(data / "train", roe), init=tmp_path / "two.safetensors", steps=20)
    other = replace(plan, out=plan.out.with_name("unbroken"))
    train_readouts(other)
    learn, learned = readout_training._learned, list[str]()

    def watched(network: RigNetwork, rows: Rows, plan: ReadoutPlan, name: str) -> nn.Sequential:
        learned.append(name)
        if len(learned) == 2:
            raise KeyboardInterrupt
        return learn(network, rows, plan, name)

    monkeypatch.setattr(readout_training, "_learned", watched)
    with pytest.raises(KeyboardInterrupt):
        train_readouts(plan)
    assert not (plan.out / "weights.safetensors").exists()
    train_readouts(plan)
    assert learned == ["egg", "roe", "roe"]
    expected = weights_of(other).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in weights_of(plan).state_dict().items())


def test_the_weights_say_where_they_come_from_and_have_the_digits_of_half_precision(
    plan: ReadoutPlan,
) -> None:
    train_readouts(replace(plan, train=plan.train * 2, steps=2))
    path = plan.out / "weights.safetensors"
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    told = json.loads(about["training"])
    assert (
        told["train"] == ["train", "train"]
        and told["samples"] == 48
        and told["init"] == "weights.safetensors"
    )
    assert about["attribution"] == "Eggs by nobody (CC0)" and len(about["commit"]) == 40
    network = weights_of(plan)
    rounded: dict[str, Tensor] = half_digits(network, network.state_dict())
    assert all(torch.equal(value, rounded[name]) for name, value in network.state_dict().items())
    assert any("readouts" in name for name in rounded)


def test_a_training_of_the_whole_goes_on_from_them(
    plan: ReadoutPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_readouts(replace(plan, steps=2))
    monkeypatch.setitem(CONFIGS, "tiny", TOLD)
    more = TrainPlan(plan.train[0], plan.val, plan.out / "more", config="tiny", steps=2, every=2)
    train(replace(more, init=plan.out / "weights.safetensors"))
    assert load_network(more.out / "weights.safetensors")[0].readouts is None


def test_weights_without_families_are_refused(plan: ReadoutPlan, tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", RigNetwork(TINY).state_dict(), TINY, {})
    with pytest.raises(ModelError, match="knows no families"):
        train_readouts(replace(plan, init=tmp_path / "w.safetensors"))


def test_a_family_without_heads_is_named(plan: ReadoutPlan, tmp_path: Path) -> None:
    folder = write_eggs(tmp_path / "strange", known_and_strange(range(6), all_strange=True))
    with pytest.raises(DataError, match=f"no heads of egg in {folder}"):
        train_readouts(replace(plan, train=(folder,), steps=2))


def test_a_damaged_readout_is_named(plan: ReadoutPlan) -> None:
    plan.out.mkdir()
    (plan.out / "egg.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ModelError, match=r"egg\.safetensors is not a readout of this network"):
        train_readouts(plan)


def test_readouts_of_another_plan_are_not_taken(plan: ReadoutPlan) -> None:
    train_readouts(replace(plan, steps=2))
    train_readouts(replace(plan, steps=2))
    with pytest.raises(ModelError, match=r"plan\.json is of another run"):
        train_readouts(replace(plan, steps=3))
    (plan.out / "plan.json").write_bytes(b"no plan")
    with pytest.raises(ModelError, match=r"plan\.json is of another run"):
        train_readouts(replace(plan, steps=2))


def test_the_command(plan: ReadoutPlan, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--train", str(plan.train[0]), "--val", str(plan.val), "--out", str(plan.out), "--steps", "2"]
    assert main(["readouts", *options, "--init", str(plan.init)]) == 0
    assert "error of the motion: egg 0." in capsys.readouterr().out
    assert main(["readouts", *options, "--init", str(plan.out / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
