"""Training with 3D supervision: one head a step or many, all poses at once.

The whole loop reads top to bottom in :func:`train`. Order and augmentation follow from (seed, step), so a run that
is interrupted and resumed equals an unbroken one.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from raf_runtime.contract import INPUTS
from raf_runtime.errors import DeviceError, ModelError
from raf_training.batches import Batch, feed_of
from raf_training.checkpoint import (
    half_digits,
    load_checkpoint,
    load_network,
    save_checkpoint,
    save_weights,
)
from raf_training.dataset import Sample, SampleFolder
from raf_training.errors import DataError
from raf_training.losses.anchors import anchor_loss
from raf_training.losses.displacement import displacement_loss, on_open_jaw
from raf_training.muon import optimizers_of
from raf_training.network import CONFIGS, NetworkConfig, RigNetwork, SurfaceTensors
from raf_training.revival import revive
from raf_training.strangers import learn_families

__all__ = ["TrainPlan", "commit_of_checkout", "device_of", "schedule", "train", "validate"]

# A vertex counts in validation where its true motion exceeds this, in canonical units (0.01 mm of a 240 mm head).
MOVING = 0.01 / 38
# Weight of the anchors' distances (units) beside the loss of the displacements.
MARKS = 0.1
# Share of the steps over which the learning rate falls.
FALL = 0.6
# Heads on which a unit must fire once not to be given a new start.
WITNESSES = 24


@dataclass(frozen=True)
class TrainPlan:
    """One run.

    Attributes
    ----------
    train, val : folders of samples; held-out identities in ``val``.
    out : folder of checkpoint, weights and logs.
    leave_out : a family to learn nothing from; ``val`` may hold heads of it.
    config : a name in :data:`raf_training.network.CONFIGS`.
    init : weights to start from, of the same ``config``.
    steps : batches to learn from in all.
    batch : heads a batch. One is read from the disk when it is needed; for more, all samples are held in the memory of
        the device, about 1.1 kB a vertex.
    rate : peak learning rate, of Muon and AdamW alike.
    average : decay of the running mean of the weights, which is what is validated and saved.
    every : steps between validations and checkpoints.
    """

    train: Path
    val: Path
    out: Path
    leave_out: str | None = None
    config: str = "default"
    init: Path | None = None
    steps: int = 30_000
    batch: int = 1
    rate: float = 1e-3
    average: float = 0.999
    every: int = 1000
    seed: int = 0
    device: str = "cpu"


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: warm-up, constant, then linearly to zero over the last 60 %.

    Until the fall begins it does not depend on ``steps``: a running training can be shortened or lengthened.
    """
    warm = min(1.0, (step + 1) / 300)
    return warm * min(1.0, (steps - step) / (FALL * steps))


def train(plan: TrainPlan) -> dict[str, float]:
    """Run or resume a training; returns the last validation.

    Raises
    ------
    DataError
        If the samples cannot be used, or a step gives a loss that is not finite.
    ModelError
        If the checkpoint or the initial weights cannot be read, or either is of another network.
    DeviceError
        If the device is unknown or cannot be had.
    """
    torch.manual_seed(plan.seed)
    device = device_of(plan.device)
    heads, held_out = SampleFolder(plan.train, plan.leave_out), SampleFolder(plan.val)
    held_out.check()
    feed = feed_of(heads, device, plan.batch)
    network = RigNetwork(CONFIGS[plan.config])
    attribution = list(heads.attribution.values())
    if plan.init is not None:
        given, about = load_network(plan.init)
        # What the initial weights have learned from stays in those that follow.
        attribution = [*dict.fromkeys(about.get("attribution", "").splitlines() + attribution)]
        plain = replace(given.config, strangers=network.config.strangers, families=(), readouts=False)
        if plain != network.config:
            raise ModelError(f"{plan.init} is of {given.config}, not of --config {plan.config}")
        # Which families it knows is judged anew in the end; older weights know no strangers.
        network.load_state_dict(given.state_dict(), strict=False)
    if network.config.pose_blocks:
        raise DataError(
            f"raf-train rig trains networks that emit all poses at once; {plan.config} answers one at a time"
        )
    network.to(device).train()
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimizers = optimizers_of(network, plan.rate)
    commit = commit_of_checkout()
    plan.out.mkdir(parents=True, exist_ok=True)
    checkpoint, first = plan.out / "checkpoint.pt", 0
    if checkpoint.is_file():
        state = load_checkpoint(checkpoint)
        try:
            network.load_state_dict(state["network"])
            for optimizer, memory in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(memory)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"{checkpoint} is of another network; choose another --out ({error})") from error
        average = {name: value.to(device) for name, value in state["average"].items()}
        first = state["step"]
    (plan.out / "plan.json").write_text(json.dumps(asdict(plan), indent=1, default=str))

    witnesses = [heads[i].to(device).surface for i in range(0, len(heads), -(-len(heads) // WITNESSES))]
    weights = half_digits(network, average)
    report = validate(network.config, weights, held_out, device, told=True) if first >= plan.steps else {}
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, for the steps alone
    with SummaryWriter(str(plan.out / "logs")) as log:
        batches = feed.batches(plan.seed, first, plan.steps)
        for step, batch in enumerate(
            bar := tqdm(batches, total=plan.steps, initial=first, unit="step"), first
        ):
            if step % plan.every == 0 and step < (1 - FALL) * plan.steps and (step or plan.init):
                revive(network, optimizers, witnesses, plan.seed + step)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = plan.rate * schedule(step, plan.steps)
            losses = losses_of(network, batch)
            if not (loss := losses.mean()).isfinite():
                faulty = batch.sources[int(losses.isfinite().int().argmin())]
                raise DataError(f"step {step}: the loss on a head of {faulty} is not finite")
            network.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            # Early on the mean would remember the random start; let it follow more quickly then.
            decay = min(plan.average, (step + 1) / (step + 10))
            for name, value in network.state_dict().items():
                average[name].lerp_(value, 1 - decay)
            log.add_scalar("train/loss", loss.item(), step)

            done = step + 1
            if done % plan.every == 0 or done == plan.steps:
                weights = half_digits(network, average)
                report = validate(network.config, weights, held_out, device, told=True)
                for name, figure in report.items():
                    log.add_scalar(f"val/{name}", figure, done)
                bar.set_postfix({name: f"{figure:.3f}" for name, figure in report.items()})
                save_checkpoint(
                    checkpoint,
                    {
                        "step": done,
                        "network": network.state_dict(),
                        "average": average,
                        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    },
                )
                save_weights(
                    plan.out / "weights.safetensors",
                    weights,
                    network.config,
                    _about(plan, attribution, len(heads), done, commit),
                )
    torch.set_float32_matmul_precision("highest")
    if network.config.strangers:
        network.load_state_dict(weights)
        families, judge = learn_families(network.eval(), feed, heads.families, plan.seed)
        config = replace(network.config, families=families)
        weights |= {f"judge.{name}": value for name, value in judge.state_dict().items()}
        about = _about(plan, attribution, len(heads), max(first, plan.steps), commit)
        save_weights(plan.out / "weights.safetensors", weights, config, about)
        report = validate(config, weights, held_out, device)
    return report


def losses_of(network: RigNetwork, batch: Batch) -> Tensor:
    """Loss (B,) of each head of a batch."""

    def of_head(*tensors: Tensor) -> Tensor:
        *inputs, deltas, mask, there, strange = tensors
        surface = SurfaceTensors(*inputs)
        predicted, anchors = network.displacements_and_anchors(surface, strange=strange)
        loss = displacement_loss(predicted, deltas, mask, there)
        if marks := network.config.marks:
            loss = loss + MARKS * anchor_loss(anchors, marks, surface, deltas, mask)
        return loss

    inputs = (getattr(batch.surface, name) for name in INPUTS)
    tensors = *inputs, batch.deltas, batch.mask, batch.there, batch.strange
    if len(batch.sources) == 1:  # a product of two matrices is quicker than one of two stacks of one matrix
        return of_head(*(value[0] for value in tensors))[None]
    return torch.vmap(of_head)(*tensors)


def device_of(name: str) -> torch.device:
    """Device of this name; raises DeviceError where it cannot be had."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:  # a torch without CUDA asserts
        raise DeviceError(f"device {name!r} cannot be had ({error}); train with --device cpu") from error
    return device


def commit_of_checkout() -> str:
    """Commit of the checkout; asked before the first step, because it may change under a long run."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git here
        return "unknown"
    return found.stdout.strip() or "unknown"


def _about(plan: TrainPlan, attribution: list[str], samples: int, steps: int, commit: str) -> dict[str, str]:
    # Of folders only the names: the rest is nobody's business but the machine's.
    described = {key: value.name if isinstance(value, Path) else value for key, value in asdict(plan).items()}
    return {
        "commit": commit,
        "attribution": "\n".join(attribution),
        "training": json.dumps({**described, "steps_done": steps, "samples": samples}),
    }


@torch.no_grad()
def validate(
    config: NetworkConfig,
    weights: dict[str, Tensor],
    heads: SampleFolder,
    device: torch.device,
    told: bool = False,
) -> dict[str, float]:
    """Error over true motion of the moving vertices, per family, on heads as they are (no jitter).

    ``told``: the network need not judge by itself who is a stranger.
    """
    network = RigNetwork(config).to(device).eval()
    network.load_state_dict(weights)
    error: defaultdict[str, float] = defaultdict(float)
    motion: defaultdict[str, float] = defaultdict(float)
    for index in range(len(heads)):
        sample: Sample = heads[index].to(device)
        family = sample.source.partition("/")[0]
        target = on_open_jaw(sample.deltas)[sample.mask]
        moved = network(sample.surface, strange=float(sample.strange) if told else None)
        distance = (on_open_jaw(moved)[sample.mask] - target).norm(dim=-1)
        length = target.norm(dim=-1)
        error[family] += float(distance[length > MOVING].sum())
        motion[family] += float(length[length > MOVING].sum())
    return {family: error[family] / motion[family] for family in sorted(error)}
