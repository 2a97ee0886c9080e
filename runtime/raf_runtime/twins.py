"""The two sides of a card: parts whose vertices coincide one by one move together.

Hair, lashes and collars are often modelled as one sheet and, in the same places, its back.

Axis legend: S surface vertices, P poses, n vertices of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.rigid import Doubles

__all__ = ["find_twins", "join_twins"]

# Canonical units: far above the rounding of a file, far below the distance of anything that is apart.
COINCIDENT: Final = 1e-4
FEWEST: Final = 4


def find_twins(points: Doubles, parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Pairs (2, n) of vertices at the same place in two parts that coincide entirely.

    Lips or lids that touch are no such parts: only what coincides in every vertex is joined.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    parts : sequence of (n,) int64
        Vertices of each connected part.
    """
    alike: dict[tuple[int, ...], list[NDArray[np.int64]]] = {}
    for part in parts:
        if len(part) >= FEWEST:
            middle = np.rint(points[part].mean(axis=0) / (10 * COINCIDENT)).astype(int)
            alike.setdefault((len(part), *middle.tolist()), []).append(part)
    pairs = [
        np.stack([a[np.lexsort(points[a].T)], b[np.lexsort(points[b].T)]])
        for group in alike.values()
        for a, b in zip(group[::2], group[1::2], strict=False)
    ]
    pairs = [pair for pair in pairs if np.abs(points[pair[0]] - points[pair[1]]).max() < COINCIDENT]
    return np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)


def join_twins(displacements: NDArray[np.float32], twins: NDArray[np.int64]) -> None:
    """Give both of each pair (2, n) the mean of their displacements (P, S, 3), in place."""
    mean = displacements[:, twins].mean(axis=1)
    displacements[:, twins[0]] = mean
    displacements[:, twins[1]] = mean
