"""Weights of the losses in the two stages of training (Ma et al., "RigAnyFace", NeurIPS 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["STAGE_1", "STAGE_2", "LossWeights"]


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss; 0 leaves it out. The names are those of the modules in :mod:`raf_training.losses`."""

    image: float = 0.0
    mask: float = 0.0
    displacement_2d: float = 0.0
    regularisation: float = 0.0
    mse_3d: float = 0.0
    landmark_2d: float = 0.0
    eye_closure_2d: float = 0.0


# Rigged and unrigged heads, from scratch.
STAGE_1: Final = LossWeights(image=10.0, mask=1.0, displacement_2d=1.0, regularisation=1e-4)
# Rigged heads, from the end of stage 1.
STAGE_2: Final = LossWeights(image=10.0, mask=1.0, mse_3d=100.0, landmark_2d=0.5, eye_closure_2d=0.5)
