"""Training the readouts (:mod:`raf_training.readouts`): the last layers alone, for each family that a network knows.

All that comes before stays. It is computed once for some vertices of every head, rows, and learning from rows takes a
CPU minutes: heads of tens of thousands of vertices, too slow to train whole networks on, can be learned from.

Strangers keep the layers of the network. Layers of their own learn more of the strangers among the samples, but are no
better on rigs that nobody here made (docs/left_out.md).

Axis legend: R rows, M gathered numbers, C channels, P poses, V vertices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from raf_runtime.contract import INPUTS
from raf_runtime.errors import ModelError
from raf_training.batches import OneByOne
from raf_training.blocks import DiffusionBlock
from raf_training.checkpoint import half_digits, load_network, save_weights
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError
from raf_training.losses.displacement import SMOOTH, on_open_jaw, pose_weights
from raf_training.network import RigNetwork, SurfaceTensors
from raf_training.train import commit_of_checkout, schedule, validate

__all__ = ["ReadoutPlan", "train_readouts"]

CPU = torch.device("cpu")
# Rows a step, and decay of the running mean of the weights.
BATCH, AVERAGE = 4096, 0.999
WEIGHT_DECAY = 1e-3
# Weight of a shape that the rig of a head lacks: an animal's lacks most.
HELD = 0.1


@dataclass(frozen=True)
class ReadoutPlan:
    """One run.

    Attributes
    ----------
    train : folders of samples, of any size; one that stands there twice is seen in two ways.
    val : folder of samples; held-out identities.
    out : folder of weights.
    init : weights of ``raf-train rig``, whose families are given readouts.
    rows : vertices of a head that are learned from, at most.
    steps : steps for each family.
    rate : peak learning rate of AdamW.
    """

    train: tuple[Path, ...]
    val: Path
    out: Path
    init: Path
    rows: int = 1000
    steps: int = 6000
    rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """What the last layers look at and what they are to say, half precision; see :func:`pose_weights`.

    Attributes
    ----------
    gathered : (R, M)
    deltas : (R, P, 3), ``mouthClose`` on top of the open jaw; of shapes that a rig lacks, what the network has.
    head : (R,) int64, row of the next two.
    of_distance, of_square : (heads, P)
    """

    gathered: Tensor
    deltas: Tensor
    head: Tensor
    of_distance: Tensor
    of_square: Tensor


def train_readouts(plan: ReadoutPlan) -> dict[str, float]:
    """Run a training, or resume it with the next family; returns the validation, per family.

    Raises
    ------
    DataError
        If the samples cannot be used, or there are none of one of the families.
    ModelError
        If the initial weights cannot be read, or know no families; if the folder holds readouts of another plan.
    """
    network, about = load_network(plan.init)
    families = network.config.families
    if not families or network.config.pose_blocks:
        raise ModelError(f"{plan.init} knows no families; take weights that `raf-train rig` has finished")
    network = _without_readouts(network)
    folders, held_out = [SampleFolder(folder) for folder in plan.train], SampleFolder(plan.val)
    held_out.check()
    commit = commit_of_checkout()
    # Of folders only the names: the rest is nobody's business but the machine's.
    described = {key: value.name if isinstance(value, Path) else value for key, value in asdict(plan).items()}
    described |= {"train": [folder.name for folder in plan.train], "samples": sum(map(len, folders))}
    plan.out.mkdir(parents=True, exist_ok=True)
    _agree(plan.out / "plan.json", described)
    readouts = list[nn.Sequential]()
    for family in families:
        path = plan.out / f"{family}.safetensors"
        readout = _readout(network)
        if path.is_file():
            _load(readout, path)
        else:
            readout = _learned(network, _rows(network, folders, family, plan), plan, family)
            temporary = path.with_suffix(".tmp")
            save_file(readout.state_dict(), temporary)
            temporary.replace(path)
        readouts.append(readout)
    result = RigNetwork(replace(network.config, readouts=True))
    result.load_state_dict(network.state_dict(), strict=False)
    assert result.readouts is not None
    result.readouts.take([*readouts, _readout(network)])
    weights = half_digits(result, result.state_dict())
    attribution = [*about.get("attribution", "").splitlines()]
    attribution += [line for heads in folders for line in heads.attribution.values()]
    told = {
        "commit": commit,
        "attribution": "\n".join(dict.fromkeys(attribution)),
        "training": json.dumps(described),
    }
    save_weights(plan.out / "weights.safetensors", weights, result.config, told)
    return validate(result.config, weights, held_out, CPU)


def _agree(path: Path, described: Mapping[str, object]) -> None:
    """Write a plan into its folder, or see that the one there is the same."""
    content = json.dumps(described, indent=1)
    if not path.is_file():
        temporary = path.with_suffix(".tmp")
        temporary.write_text(content)
        temporary.replace(path)
    elif path.read_text() != content:
        raise ModelError(
            f"{path} is of another run, whose readouts are not of this one; choose another --out"
        )


def _without_readouts(network: RigNetwork) -> RigNetwork:
    plain = RigNetwork(replace(network.config, readouts=False))
    plain.load_state_dict(network.state_dict(), strict=False)
    return plain.eval()


def _readout(network: RigNetwork) -> nn.Sequential:
    """Copy the last block's mixing, and the head."""
    last = network.trunk[-1]
    assert isinstance(last, DiffusionBlock)
    return deepcopy(nn.Sequential(last.mix, network.head))


def _load(readout: nn.Sequential, path: Path) -> None:
    try:
        readout.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} is not a readout of this network ({error}); delete it") from error


@torch.no_grad()
def _rows(network: RigNetwork, folders: Sequence[SampleFolder], family: str, plan: ReadoutPlan) -> Rows:
    """Compute what the last layers look at on all heads of a family that are no strangers to it."""
    parts = [heads.of(family) for heads in folders]
    counts = np.minimum(np.concatenate([part.check() for part in parts]), plan.rows)
    if not len(counts):
        raise DataError(f"there are no heads of {family} in {', '.join(map(str, plan.train))}")
    poses, last = len(network.config.poses), network.trunk[-1]
    assert isinstance(last, DiffusionBlock)
    rows = Rows(
        torch.empty((int(counts.sum()), last.norm.normalized_shape[0]), dtype=torch.float16),
        torch.empty((int(counts.sum()), poses, 3), dtype=torch.float16),
        torch.empty(int(counts.sum()), dtype=torch.int64),
        torch.empty((len(counts), poses)),
        torch.empty((len(counts), poses)),
    )
    found = list[Tensor]()
    hook = last.norm.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    batches = (
        b for i, part in enumerate(parts) for b in OneByOne(part, CPU).batches(plan.seed + i, 0, len(part))
    )
    start = 0
    for number, batch in enumerate(tqdm(batches, total=len(counts), desc=f"rows of {family}", unit="head")):
        surface = SurfaceTensors(*(getattr(batch.surface, name)[0] for name in INPUTS))
        # Shapes that the rig of a head lacks stay as the network has them.
        predicted = on_open_jaw(network(surface, strange=batch.strange[0]))
        deltas = torch.where(batch.mask[0][:, None, None], on_open_jaw(batch.deltas[0]), predicted)
        gathered = found.pop()
        rng = np.random.default_rng([plan.seed, number])
        some = torch.from_numpy(rng.choice(len(gathered), min(len(gathered), plan.rows), replace=False))
        shares = torch.full((len(gathered),), 1 / len(gathered))
        present = torch.where(batch.mask[0], 1.0, HELD)
        rows.of_distance[number], rows.of_square[number] = pose_weights(deltas, present, shares)
        own = slice(start, start + len(some))
        rows.gathered[own] = gathered[some]
        rows.deltas[own] = deltas[:, some].transpose(0, 1)
        rows.head[own] = number
        start += len(some)
    hook.remove()
    return rows


def _learned(network: RigNetwork, rows: Rows, plan: ReadoutPlan, name: str) -> nn.Sequential:
    """Learn one readout, from the network's own; returns the mean of its weights."""
    torch.manual_seed(plan.seed)
    last, width = network.trunk[-1], network.config.width
    assert isinstance(last, DiffusionBlock)
    readout, average = _readout(network).train(), _readout(network)
    optimizer = torch.optim.AdamW(readout.parameters(), lr=plan.rate, weight_decay=WEIGHT_DECAY)
    for step in tqdm(range(plan.steps), desc=name, unit="step"):
        optimizer.param_groups[0]["lr"] = plan.rate * schedule(step, plan.steps)
        some = torch.randint(len(rows.head), (BATCH,))
        gathered, head = rows.gathered[some].float(), rows.head[some]
        with torch.no_grad():
            normed = last.norm(gathered)
        mix, emit = readout
        emitted = emit(gathered[:, :width] + mix(normed)).unflatten(1, (-1, 3)).transpose(0, 1)
        squares = (on_open_jaw(emitted).transpose(0, 1) - rows.deltas[some].float()).square().sum(-1)
        losses = (squares + SMOOTH**2).sqrt() * rows.of_distance[head] + squares * rows.of_square[head]
        if not (loss := losses.sum(1).mean()).isfinite():
            raise DataError(f"{name}, step {step}: the loss is not finite; look for samples without bounds")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(readout.parameters(), 1.0)
        optimizer.step()
        decay = min(AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), readout.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
    return average
