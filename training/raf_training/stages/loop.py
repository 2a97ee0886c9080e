"""The loop of both stages: Lightning Fabric on one process, or on as many as ``torchrun`` starts, a sample each.

What a step learns from and at which rate follow from (seed, step), and nothing else is random: a run that is killed
and resumed equals an unbroken one.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from raf_runtime.contract import INPUTS
from raf_runtime.errors import ModelError
from raf_training.checkpoint import load_checkpoint, load_network, save_checkpoint, save_weights
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.evaluate import Figures, evaluate
from raf_training.network import RigNetwork
from raf_training.posing import PosedNetwork, pose_vectors
from raf_training.stages.config import Precision, Stage, StageConfig
from raf_training.stages.heads import StageData
from raf_training.stages.lessons import lessons
from raf_training.stages.objective import Objective
from raf_training.stages.pictures import pose_sheet
from raf_training.stages.schedule import Order, cosine_restarts
from raf_training.stages.targets import TargetFolder
from raf_training.train import commit_of_checkout, device_of

__all__ = ["StagePlan", "train_stage"]


@dataclass(frozen=True)
class StagePlan:
    """One run of one stage.

    Attributes
    ----------
    stage : 1 or 2.
    config : see :data:`raf_training.stages.config.STAGES`.
    train, val : folders of samples; held-out identities in ``val``.
    out : folder of checkpoint, weights and logs.
    unrigged : folder of 2D targets, for stage 1.
    init : weights to start from: for stage 2 those of stage 1.
    every : steps between validations and checkpoints.
    """

    stage: Stage
    config: StageConfig
    train: Path
    val: Path
    out: Path
    unrigged: Path | None = None
    init: Path | None = None
    every: int = 500
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "32-true"

    def identity(self, items: int, processes: int) -> str:
        """All that decides what a step does, data of the same size aside; a checkpoint of another is not resumed."""
        about = {"stage": self.stage, "seed": self.seed, "items": items, "processes": processes}
        return json.dumps({**about, **asdict(self.config)})


def train_stage(plan: StagePlan) -> dict[str, Figures]:
    """Run or resume a stage; returns the last validation, in the first process.

    Raises
    ------
    DataError
        If anything that would be learned from cannot be used, before anything is written; or if a loss or a gradient is
        not finite.
    ModelError
        If the checkpoint or the initial weights cannot be read, or are of another network or plan.
    DeviceError
        If the device cannot be had.
    """
    config = plan.config
    if plan.stage == 2 and plan.unrigged:
        raise DataError("stage 2 learns from rigged heads only; leave the 2D targets out")
    held_out = StageData(SampleFolder(plan.val))
    data = StageData(SampleFolder(plan.train), TargetFolder(plan.unrigged) if plan.unrigged else None)
    objective = Objective(config.weights, config.resolution)
    order = Order(data.poses, config.poses, plan.seed)
    fabric = _fabric(plan)
    share = config.batch * fabric.world_size
    steps = config.epochs * len(order) // share
    if config.most_steps is not None:
        steps = min(steps, config.most_steps)
    cosine_restarts(0, steps, config.warm_up, config.cycles)  # raises where the run is too short

    torch.manual_seed(plan.seed)
    network, attribution = _network(plan, data.attribution)
    model, optimizer = fabric.setup(
        PosedNetwork(network), torch.optim.Adam(network.parameters(), lr=config.rate)
    )
    identity = plan.identity(len(order), fabric.world_size)
    first = _resume(plan.out / "checkpoint.pt", identity, network, optimizer)
    commit = commit_of_checkout()
    log: SummaryWriter | None = None
    if fabric.is_global_zero:
        plan.out.mkdir(parents=True, exist_ok=True)
        log = SummaryWriter(str(plan.out / "logs"), purge_step=first)

    def validate(done: int) -> dict[str, Figures]:
        """Measure, log and draw the network, and save it; only the first process does."""
        figures = evaluate(network, SampleFolder(plan.val), fabric.device)
        network.train()
        assert log is not None
        for name, figure in figures.items():
            log.add_scalar(f"val/{name}", figure.ratio, done)
        shown = held_out.head(0).to(fabric.device)
        log.add_image("val/poses", pose_sheet(network, shown, config.resolution), done)
        log.flush()
        about = {
            "commit": commit,
            "attribution": "\n".join(attribution),
            "training": json.dumps({"plan": identity, "steps_done": done, "samples": len(data)}),
        }
        save_weights(plan.out / "weights.safetensors", network.state_dict(), network.config, about)
        state = {"step": done, "plan": identity, "network": network.state_dict()}
        save_checkpoint(plan.out / "checkpoint.pt", state | {"optimizer": optimizer.state_dict()})
        return figures

    report = validate(first) if first >= steps and log is not None else {}
    stream = lessons(data, order, range(first, steps), config.batch, fabric.global_rank, fabric.world_size)
    bar = tqdm(stream, total=steps, initial=first, unit="step", disable=log is None)
    for step, lesson in enumerate(bar, first):
        for group in optimizer.param_groups:
            group["lr"] = config.rate * cosine_restarts(step, steps, config.warm_up, config.cycles)
        optimizer.zero_grad()
        terms: dict[str, Tensor] = {}
        for turn, part in enumerate(lesson):
            head = part.head.to(fabric.device)
            inputs = (getattr(head.surface, name) for name in INPUTS)
            with fabric.no_backward_sync(model, enabled=turn + 1 < len(lesson)):
                moved = model(pose_vectors(part.rows).to(fabric.device), *inputs)
                found = objective(head, part.rows, moved.float(), part.targets)
                loss = torch.stack(list(found.values())).sum()
                if not loss.isfinite():
                    raise DataError(f"step {step}: the loss on head {head.source} is not finite")
                fabric.backward(loss / len(lesson))
            for name, value in found.items():
                terms[name] = terms.get(name, torch.zeros_like(value)) + value.detach() / len(lesson)
        # Gradients are means over all processes: where one is not finite, every process stops.
        norm = nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        if not norm.isfinite():
            raise DataError(f"step {step}: a gradient is not finite; last head {lesson[-1].head.source}")
        optimizer.step()
        # Rigged and unrigged heads have the same terms, so that all processes reduce the same ones.
        names = sorted(terms)
        stacked = torch.stack([terms[name] for name in names])
        means = cast(Tensor, fabric.all_reduce(stacked, reduce_op="mean")).tolist()
        if log is not None:
            for name, value in zip(names, means, strict=True):
                log.add_scalar(f"train/{name}", value, step)
            log.add_scalar("train/loss", sum(means), step)
        done = step + 1
        if done % plan.every == 0 or done == steps:
            if log is not None:
                report = validate(done)
            fabric.barrier()
    if log is not None:
        log.close()
    return report


def _fabric(plan: StagePlan) -> Fabric:
    """One process, or this one among those of ``torchrun``."""
    device = device_of(plan.device)
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=device.type,
        strategy="ddp" if world > 1 else "auto",
        devices=[device.index] if ":" in plan.device else local,
        num_nodes=world // local,
        precision=plan.precision,
    )
    fabric.launch()
    return fabric


def _network(plan: StagePlan, attribution: list[str]) -> tuple[RigNetwork, list[str]]:
    """A new network or that of the initial weights, and what must be said of all data that it has seen."""
    if plan.init is None:
        return RigNetwork(plan.config.network), attribution
    network, about = load_network(plan.init)
    if network.config != plan.config.network:
        raise ModelError(f"{plan.init} is of another network than the stage; use the same --config for both")
    return network.train(), list(dict.fromkeys(about.get("attribution", "").splitlines() + attribution))


def _resume(checkpoint: Path, identity: str, network: RigNetwork, optimizer: Any) -> int:
    if not checkpoint.is_file():
        return 0
    state = load_checkpoint(checkpoint)
    if state.get("plan") != identity:
        raise ModelError(
            f"{checkpoint} is of another plan; choose another --out, or the same options, samples and processes"
        )
    try:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelError(f"{checkpoint} is damaged ({error}); delete it to start anew") from error
    return state["step"]
