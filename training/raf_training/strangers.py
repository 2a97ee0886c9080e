"""Judging whether a face is a stranger: unlike those of every family that a network has learned from.

How far a smile goes is each rig's own choice. Faces of the families that it knows a network moves by their rigs'
choices, strangers by the mean of all (:mod:`raf_training.data.consensus`). While it learns, it is told which a head is.
Afterwards it judges by itself: what its encoder makes of a whole head (anchors and global vector, the summary) is
normally distributed in each family, and a stranger is who lies further from all of them, by Mahalanobis' distance, than
their own heads do. Nothing needs to be known of strangers for that.

Axis legend: F families, D numbers of a summary, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

from raf_runtime.contract import INPUTS
from raf_training.blocks import SurfaceTensors

if TYPE_CHECKING:
    from raf_training.batches import Feed
    from raf_training.network import RigNetwork

__all__ = ["Judge", "learn_families"]

# Heads that are looked at, at most.
HEADS = 10_000
# Added to the variances of a family, as a share of their mean: directions in which few heads differ count for less.
SHRINK = 0.03
# Share of the families' own heads within the distance where a face is half a stranger.
WITHIN = 0.98
# How steeply strangeness grows with the logarithm of the squared distance: from 0 to 1 over a factor of 1.4.
# Beyond, where most faces are, it does not depend on how summaries are rounded.
STEEP = 3.0
# How clearly a face is of the nearest family: another that is twice as far (in squares) has a share of 0.001.
CLEAR = 10.0


class Judge(nn.Module):
    """How far a face is a stranger, by its summary.

    Products are written as sums: in half precision these stay in single precision.

    Attributes
    ----------
    middle : (F, D), mean summary of each family.
    whitening : (F, D, D), carries offsets from it to those of unit variance over the root of D.
    border : (), logarithm of the squared distance where a face is half a stranger.
    """

    middle: Tensor
    whitening: Tensor
    border: Tensor

    def __init__(self, families: int, numbers: int) -> None:
        super().__init__()
        self.register_buffer("middle", torch.zeros(families, numbers))
        self.register_buffer("whitening", torch.zeros(families, numbers, numbers))
        self.register_buffer("border", torch.zeros(()))

    def forward(self, summary: Tensor) -> Tensor:
        """Map a summary (D,) to a share (): 0 for a face of a known family, 1 for a stranger."""
        return (0.5 + STEEP * (self.log_distance(summary) - self.border)).clamp(0, 1)

    def shares(self, summary: Tensor, strange: Tensor | float) -> Tensor:
        """How far a face is of each family and, last, of none (F + 1,): they sum to one."""
        distances = self._log_distances(summary)
        nearness = torch.exp(
            CLEAR * (distances.min() - distances)
        )  # a softmax; TensorRT has none of one axis
        known = nearness / nearness.sum()
        strange = torch.as_tensor(strange, dtype=known.dtype, device=known.device)
        return torch.cat([(1 - strange) * known, strange[None]])

    def log_distance(self, summary: Tensor) -> Tensor:
        """Logarithm () of the squared distance from the nearest family; about 0 for its own heads."""
        return self._log_distances(summary).min()

    def _log_distances(self, summary: Tensor) -> Tensor:
        offset = ((summary - self.middle)[:, :, None] * self.whitening).sum(1)  # (F, D)
        return offset.square().sum(1).clamp(min=1e-6).log()


def learn_families(
    network: RigNetwork, feed: Feed, families: tuple[str, ...], seed: int
) -> tuple[tuple[str, ...], Judge]:
    """Learn how the families that a network knows are distributed.

    Parameters
    ----------
    network : RigNetwork
        With an encoder; it does not change.
    feed : Feed
        Heads of the families. Strangers among them are passed over.
    families : tuple of str
        A family without any head but strangers is far from everybody.
    seed : int
        Of the order and the augmentation.

    Returns
    -------
    tuple of str, Judge
        The families, in alphabetical order, and who knows them.
    """

    def summarised(*inputs: Tensor) -> Tensor:
        return network.summary(SurfaceTensors(*inputs))

    count = -(-min(HEADS, len(feed)) // feed.size)
    summaries, strange, sources = list[Tensor](), list[Tensor](), list[str]()
    with torch.no_grad():
        for batch in tqdm(feed.batches(seed, 0, count), total=count, desc="families", unit="batch"):
            summary = torch.vmap(summarised)(*(getattr(batch.surface, name) for name in INPUTS))
            summaries.append(summary.cpu().double())
            strange.append(batch.strange.cpu() > 0)
            sources += batch.sources
    ours = ~torch.cat(strange)
    known = torch.cat(summaries)[ours]
    names = [source.partition("/")[0] for source, own in zip(sources, ours.tolist(), strict=True) if own]
    families = tuple(sorted({*families, *names}))
    family = torch.tensor([families.index(name) for name in names], dtype=torch.int64)
    # The border is that of heads which the distributions were not made of: halves take turns.
    even = torch.arange(len(known)) % 2 == 0
    distances = [
        judge.log_distance(summary.float())
        for half in (even, ~even)
        for judge in (_judge(known[half], family[half], len(families)),)
        for summary in known[~half]
    ]
    judge = _judge(known, family, len(families))
    if distances:
        judge.border = torch.stack(distances).quantile(WITHIN)
    return families, judge.to(feed.device)


def _judge(known: Tensor, family: Tensor, families: int) -> Judge:
    """A judge without a border, by summaries (H, D) and families (H,)."""
    size = known.shape[1]
    judge = Judge(families, size)
    for index in range(families):
        own = known[family == index]
        if not len(own):
            judge.whitening[index] = 1e6 * torch.eye(size)
            continue
        offset = own - own.mean(0)
        variances, axes = torch.linalg.eigh(offset.T @ offset / len(own))
        variances = variances.clamp(min=0) + SHRINK * variances.mean() + 1e-9
        judge.middle[index] = own.mean(0)
        judge.whitening[index] = axes / (size * variances).sqrt()
    return judge
