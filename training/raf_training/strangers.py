"""Judging whether a face is a stranger: unlike those of every rig that a network has learned from.

How far a smile goes is each rig's own choice. Faces of its rigs a network moves by that rig's choices, strangers by the
mean of all (:mod:`raf_training.data.consensus`). While it learns, it is told which a head is; afterwards a small
perceptron learns to judge that by where the anchors lie, from the same heads, the network itself unchanged.

Axis legend: A anchors, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

if TYPE_CHECKING:
    from raf_training.dataset import SampleFolder
    from raf_training.network import RigNetwork

__all__ = ["Judge", "learn_strangers"]

HIDDEN = 128
# Before a judge has learned anything, nobody is a stranger: logit of that.
NOBODY = -12.0
# Heads that it learns from at most, passes over them, and how many at once.
HEADS, PASSES, BATCH = 10_000, 60, 64
RATE, DECAY, DROPOUT = 1e-3, 1e-2, 0.3


class Judge(nn.Module):
    """How far a face is a stranger, by its anchors.

    Its products are written as sums: in half precision these stay in single precision.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, anchors: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(3 * anchors))
        self.register_buffer("spread", torch.ones(3 * anchors))
        self.hidden = nn.Linear(3 * anchors, HIDDEN)
        self.verdict = nn.Linear(HIDDEN, 1)
        nn.init.zeros_(self.verdict.weight)
        nn.init.constant_(self.verdict.bias, NOBODY)
        # Displacements do not teach it.
        self.requires_grad_(False)

    def forward(self, anchors: Tensor) -> Tensor:
        """Map anchors (A, 3) to a share (): 0 for a face of a known rig, 1 for a stranger."""
        places = (anchors.flatten() - self.middle) / self.spread
        hidden = ((self.hidden.weight * places).sum(1) + self.hidden.bias).relu()
        return ((self.verdict.weight[0] * hidden).sum() + self.verdict.bias[0]).sigmoid()


def learn_strangers(network: RigNetwork, heads: SampleFolder, seed: int, device: torch.device) -> Judge:
    """Teach a judge, by cross-entropy in which strangers and others weigh alike.

    Parameters
    ----------
    network : RigNetwork
        With anchors; it does not change.
    heads : SampleFolder
        If none of them is a stranger, or all are, so is everybody.
    seed : int
        Of the order, the augmentation and the first weights.
    device : torch.device

    Returns
    -------
    Judge
        To take the place of the network's own.
    """
    count = min(HEADS, len(heads))
    places, strange = list[Tensor](), list[bool]()
    with torch.no_grad():
        for sample in tqdm(heads.stream(seed, 0, count), total=count, desc="strangers", unit="head"):
            places.append(network.anchors(sample.to(device).surface).flatten().cpu())
            strange.append(sample.strange)
    inputs, truth = torch.stack(places), torch.tensor(strange, dtype=torch.float32)
    judge = Judge(inputs.shape[1] // 3)
    share = truth.mean()
    if share in (0, 1):
        judge.verdict.bias.fill_(-NOBODY if share else NOBODY)
        return judge.to(device)
    judge.middle, judge.spread = inputs.mean(0), inputs.std(0) + 1e-6
    inputs = (inputs - judge.middle) / judge.spread
    weight = torch.where(truth > 0, 0.5 / share, 0.5 / (1 - share))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge.requires_grad_(True)
        judge.hidden.reset_parameters()
        judge.verdict.reset_parameters()
        layers = nn.Sequential(judge.hidden, nn.ReLU(), nn.Dropout(DROPOUT), judge.verdict)
        optimizer = torch.optim.AdamW(layers.parameters(), lr=RATE, weight_decay=DECAY)
        for _ in range(PASSES):
            for some in torch.randperm(count).split(BATCH):
                loss = functional.binary_cross_entropy_with_logits(
                    layers(inputs[some])[:, 0], truth[some], weight[some]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return judge.requires_grad_(False).to(device)
