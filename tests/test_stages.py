"""The stages: killed and resumed runs, several processes, and what is not finite."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from raf_runtime.errors import DeviceError, ModelError
from raf_training.checkpoint import load_checkpoint, load_network
from raf_training.errors import DataError
from raf_training.losses.weights import LossWeights
from raf_training.stages.config import STAGES
from raf_training.stages.loop import StagePlan, train_stage
from raf_training.stages.objective import Objective

if TYPE_CHECKING:
    from tests.stage_heads import write_samples, write_targets
    from tests.stage_worker import tiny_plan
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_heads import write_samples, write_targets
    from stage_worker import tiny_plan

WORKER = Path(__file__).with_name("stage_worker.py")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_samples(folder / "train", range(3))
    write_samples(folder / "val", range(3, 5))
    write_targets(folder / "unrigged", range(5, 7))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def worker(*arguments: object, launcher: tuple[str, ...] = ()) -> int:
    command = [sys.executable, *launcher, str(WORKER), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, check=False).returncode


def curve(out: Path, name: str = "train/loss") -> dict[int, float]:
    """What TensorBoard shows, after what a resumed run took back."""
    events = EventAccumulator(str(out / "logs"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def weights(out: Path) -> dict[str, Tensor]:
    return load_network(out / "weights.safetensors")[0].state_dict()


def test_a_killed_run_equals_an_unbroken_one(data: Path, tmp_path: Path) -> None:
    steps, broken = 8, tmp_path / "broken"
    train_stage(tiny_plan(data, tmp_path / "unbroken", steps))
    # While the second checkpoint is written, and between two.
    for kill, left in (("save", 3), (7, 6)):
        assert worker(data, broken, steps, 1, kill) == -signal.SIGKILL
        assert load_checkpoint(broken / "checkpoint.pt")["step"] == left
    # TensorBoard reads files in the order of their names, which hold the second that they were begun in.
    time.sleep(1.1)
    train_stage(tiny_plan(data, broken, steps))
    expected = curve(tmp_path / "unbroken")
    assert list(expected) == list(range(steps)) and len(set(expected.values())) == steps
    assert curve(broken) == expected
    for name, value in weights(tmp_path / "unbroken").items():
        assert torch.equal(weights(broken)[name], value), name


def test_two_processes_are_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    steps, apart = 5, tmp_path / "apart"
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert worker(data, apart, steps, 1, launcher=torchrun) == 0
    train_stage(tiny_plan(data, tmp_path / "together", steps, batch=2))
    expected = weights(tmp_path / "together")
    moved = max(float((value - 0).abs().max()) for name, value in expected.items() if "head.2" in name)
    assert moved > 1e-3
    for name, value in weights(apart).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5, msg=name)
    ranks = [torch.load(apart / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(ranks[0][name], value) for name, value in ranks[1].items())
    assert curve(apart) == pytest.approx(curve(tmp_path / "together"), rel=1e-4)


def tiny_run(data: Path, out: Path, steps: int = 3, **changes: Any) -> StagePlan:
    plan = tiny_plan(data, out, steps)
    stage = {name: changes.pop(name) for name in list(changes) if name in StagePlan.__dataclass_fields__}
    return replace(plan, config=replace(plan.config, **changes), **stage)


def test_losses_figures_and_poses_are_logged(data: Path, tmp_path: Path) -> None:
    train_stage(tiny_plan(data, tmp_path / "run", 3))
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    terms = {f"train/{name}" for name in ("loss", "image", "mask", "displacement_2d", "regularisation")}
    assert set(cast(list[str], events.Tags()["scalars"])) == terms | {"val/egg", "val/all"}
    (sheet,) = events.Images("val/poses")
    assert (sheet.step, sheet.height > 24, sheet.width > 24) == (3, True, True)


def test_the_second_stage_goes_on_from_the_first(data: Path, tmp_path: Path) -> None:
    first = tiny_run(data, tmp_path / "first", 3)
    train_stage(first)
    second = replace(
        tiny_run(data, tmp_path / "second", 3, weights=LossWeights(mse_3d=100.0), unrigged=None), stage=2
    )
    # A rate of zero keeps the weights as they are.
    still = replace(second, config=replace(second.config, rate=0.0), init=first.out / "weights.safetensors")
    train_stage(still)
    assert all(torch.equal(weights(second.out)[name], value) for name, value in weights(first.out).items())
    about = load_network(second.out / "weights.safetensors")[1]
    assert about["attribution"].splitlines() == ["Eggs by nobody (CC0)", "More eggs (CC0)"]


def test_either_network_learns_what_it_is_shown(data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"weights": LossWeights(mse_3d=100.0), "unrigged": None, "every": 100}
    for blocks in (2, 0):
        network = replace(
            tiny_plan(data, tmp_path, 1).config.network, pose_blocks=blocks, trunk_blocks=2 - blocks
        )
        plan = tiny_run(data, tmp_path / str(blocks), 100, network=network, **changes)
        assert train_stage(replace(plan, stage=2))["egg"].ratio < 0.5


def test_mixed_precision_is_close_to_single(data: Path, tmp_path: Path) -> None:
    train_stage(tiny_plan(data, tmp_path / "single", 3))
    train_stage(replace(tiny_plan(data, tmp_path / "mixed", 3), precision="bf16-mixed"))
    single, mixed = curve(tmp_path / "single"), curve(tmp_path / "mixed")
    assert mixed != single
    assert mixed == pytest.approx(single, rel=0.05)


def spoil(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Tensor], Tensor]) -> None:
    """Put a fault into the loss from its third call on."""
    calls, plain = iter(range(100)), Objective.__call__

    def faulty(self: Objective, *arguments: Any) -> dict[str, Tensor]:
        terms = plain(self, *arguments)
        return {name: fault(value) for name, value in terms.items()} if next(calls) >= 2 else terms

    monkeypatch.setattr(Objective, "__call__", faulty)


def only_gradient(loss: Tensor) -> Tensor:
    """The same number, whose derivative is infinite."""
    return loss + (loss - loss.detach()).abs().sqrt()


@pytest.mark.parametrize(
    ("fault", "message"),
    [(lambda loss: loss * torch.nan, "step 2: the loss on head"), (only_gradient, "step 2: a gradient")],
)
def test_what_is_not_finite_stops_the_run(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Tensor], Tensor],
    message: str,
) -> None:
    spoil(monkeypatch, fault)
    with pytest.raises(DataError, match=message):
        train_stage(tiny_plan(data, tmp_path / "run", 3))
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_bad_data_is_named_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    unrigged = write_targets(tmp_path / "unrigged", range(5, 7))
    (unrigged / "head6" / "front" / "jawOpen.mask.png").unlink()
    with pytest.raises(DataError, match=r"jawOpen\.mask\.png"):
        train_stage(replace(tiny_plan(data, tmp_path / "run", 3), unrigged=unrigged))
    assert not (tmp_path / "run").exists()


def test_a_run_too_short_for_its_warm_up_is_refused(data: Path, tmp_path: Path) -> None:
    plan = tiny_plan(data, tmp_path / "run", 3)
    with pytest.raises(DataError, match="all warm-up"):
        train_stage(replace(plan, config=STAGES["paper"][1]))
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_of_another_plan_is_refused(data: Path, tmp_path: Path) -> None:
    train_stage(tiny_run(data, tmp_path / "run"))
    with pytest.raises(ModelError, match="another plan"):
        train_stage(tiny_run(data, tmp_path / "run", seed=5))


def test_initial_weights_of_another_network_are_refused(data: Path, tmp_path: Path) -> None:
    first = tiny_run(data, tmp_path / "first")
    train_stage(first)
    wider = replace(first.config.network, width=24)
    second = tiny_run(data, tmp_path / "second", network=wider, init=first.out / "weights.safetensors")
    with pytest.raises(ModelError, match="another network"):
        train_stage(second)
    assert not second.out.exists()


def test_a_device_that_cannot_be_had_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="--device cpu"):
        train_stage(replace(tiny_plan(data, tmp_path / "run", 2), device="cuda:99"))


def test_the_published_configuration() -> None:
    first, second = STAGES["paper"][1], STAGES["paper"][2]
    assert (first.epochs, second.epochs) == (15, 20)
    for config in (first, second):
        assert (config.rate, config.warm_up, config.resolution) == (1e-4, 20_000, 512)
        assert (config.batch, config.most_steps) == (1, None)
        assert (config.weights.image, config.weights.mask) == (10.0, 1.0)
    assert (first.weights.displacement_2d, first.weights.regularisation) == (1.0, 1e-4)
    assert (first.weights.mse_3d, first.weights.landmark_2d, first.weights.eye_closure_2d) == (0, 0, 0)
    assert (second.weights.displacement_2d, second.weights.regularisation) == (0, 0)
    assert (second.weights.mse_3d, second.weights.landmark_2d, second.weights.eye_closure_2d) == (
        100,
        0.5,
        0.5,
    )
