"""The gate of every hop: what it gives is compared with what the hop before gives, on real heads, in millimetres.

Axis legend: V vertices, P poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_export.heads import GateHead
from raf_runtime.contract import Precision
from raf_runtime.errors import ModelError

__all__ = ["TOLERANCE", "Measured", "Run", "compare"]

# Inputs by their names to displacements (P, V, 3).
Run = Callable[[dict[str, NDArray[np.float32]]], NDArray[np.floating]]

TOLERANCE: Final[dict[Precision, float]] = {"fp32": 0.001, "fp16": 0.05}  # mm of a head of 240 mm


@dataclass(frozen=True, slots=True)
class Measured:
    """The largest difference of any vertex in any pose on one head, in mm of a head of 240 mm."""

    hop: str
    vertices: int
    millimetres: float
    allowed: float


def compare(hop: str, before: Run, after: Run, heads: Iterable[GateHead], allowed: float) -> list[Measured]:
    """Compare two hops on heads.

    Parameters
    ----------
    hop : str
        What is judged, for messages.
    before, after : callable
        The hop before, and the one that is judged.
    heads : iterable of GateHead
        What they are run on.
    allowed : float
        Largest difference, in mm of a head of 240 mm.

    Raises
    ------
    ModelError
        If the hop fails, gives another shape, values that are not finite, only zeros or a constant, or differs.
    """
    result: list[Measured] = []
    for head in heads:
        expected = before(head.inputs)
        where = f"at {head.vertices} vertices {hop}"
        motion = float(np.linalg.norm(expected, axis=2).max()) * head.millimetres
        if flaw := _flaw(expected) or ("" if motion > allowed else "next to no motion"):
            raise ModelError(
                f"at {head.vertices} vertices the network gives {flaw}; train it before exporting"
            )
        try:
            found = after(head.inputs)
        except ModelError as error:
            raise ModelError(f"{where} does not run: {error}") from error
        if found.shape != expected.shape:
            raise ModelError(f"{where} gives {found.shape}, not {expected.shape}")
        if flaw := _flaw(found):
            raise ModelError(f"{where} gives {flaw}. Nothing was written")
        difference = float(np.linalg.norm(found - expected, axis=2).max()) * head.millimetres
        if difference > allowed:
            raise ModelError(
                f"{where} is {difference:.2g} mm from what it was made of, on a head of 240 mm; {allowed:g} mm is "
                "allowed. Nothing was written"
            )
        result.append(Measured(hop, head.vertices, difference, allowed))
    return result


def _flaw(displacements: NDArray[np.floating]) -> str:
    """What is wrong with displacements whatever they should be; nothing if they may be right."""
    if not np.isfinite(displacements).all():
        return "values that are not finite"
    if not displacements.any():
        return "only zeros"
    if not np.ptp(displacements, axis=1).any():
        return "the same displacement for every vertex"
    return ""
