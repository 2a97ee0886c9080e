"""What the session asks of whatever runs a model.

Axis legend: V surface vertices, P poses.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backend"]


class Backend(Protocol):
    """A model, ready to run on one device."""

    @property
    def device(self) -> str:
        """The device that was obtained: ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"coreml"``."""
        ...

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Displacements (P, V, 3) float32 from the tensors that :mod:`raf_runtime.contract` names."""
        ...
