"""The stages' configurations.

``paper`` is what RigAnyFace (Ma et al., NeurIPS 2025) published: Adam, rate 1e-4, cosine annealing with warm restarts
falling to nearly 0 at the end, 20,000 warm-up steps, 15 and 20 epochs, one sample per process (8 GPUs), images of
512 x 512, and its loss weights. Not published, and therefore ours: a sample is one head in one pose (with whole heads
as samples, 15 epochs of 8,386 would be 15,724 steps, fewer than the warm-up), and the number of cycles.

``small`` is the same on two cores in under two hours: a narrower network, smaller images, several poses of a head at a
time, so many steps as fit, and a rate that suits so few. Its first stage has images and masks at weights by which their
gradients are hardly larger than those of the 2D displacements; at the paper's, images' are hundreds of times larger,
and a network that has only begun to move goes back to standing still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from raf_training.losses.weights import STAGE_1, STAGE_2, LossWeights
from raf_training.network import CONFIGS, NetworkConfig

__all__ = ["STAGES", "Precision", "Stage", "StageConfig"]

Stage = Literal[1, 2]
# bfloat16 has the range of float32: no scaling of the loss, whose state a checkpoint would have to hold.
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class StageConfig:
    """One stage.

    Attributes
    ----------
    network : size of the network.
    weights : of the losses.
    epochs : passes over every pose of every head.
    most_steps : the run ends here at the latest; the schedule knows.
    poses : poses of one head in a sample.
    batch : samples of a step, in each process.
    resolution : height and width of rendered images.
    rate : peak learning rate of Adam.
    warm_up : steps of the linear warm-up.
    cycles : of the cosine annealing, all of the same length.
    """

    network: NetworkConfig
    weights: LossWeights
    epochs: int
    most_steps: int | None = None
    poses: int = 1
    batch: int = 1
    resolution: int = 512
    rate: float = 1e-4
    warm_up: int = 20_000
    cycles: int = 1


_PAPER: dict[Stage, StageConfig] = {
    1: StageConfig(CONFIGS["paper"], STAGE_1, epochs=15, cycles=3),
    2: StageConfig(CONFIGS["paper"], STAGE_2, epochs=20, cycles=4),
}


def _small(config: StageConfig, steps: int) -> StageConfig:
    return replace(
        config,
        network=CONFIGS["small"],
        most_steps=steps,
        poses=4,
        resolution=64,
        rate=5e-4,
        warm_up=100,
        cycles=2,
    )


STAGES: Final[dict[str, dict[Stage, StageConfig]]] = {
    "paper": _PAPER,
    "small": {
        1: _small(replace(_PAPER[1], weights=replace(STAGE_1, image=0.02, mask=0.1)), 5000),
        2: _small(_PAPER[2], 5000),
    },
}
