"""Lips meet under mouthClose on top of jawOpen, also where the network leaves them apart.

ARKit's mouthClose undoes the opening of jawOpen while the jaw stays down. Some rigs have no such shape, and on heads
like theirs a network closes a part of the way, and crookedly. There, mouthClose takes back what jawOpen does to the
lips, and less and less of it away from them: as smooth along the skin as jawOpen is.

Axis legend: S surface vertices, P poses, L vertices around the mouth, n vertices of one lip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.rigid import Doubles
from raf_runtime.surface import in_box

__all__ = ["around_the_mouth", "seal_lips"]

# Corners of a box around the mouth, canonical, with room for the error of the frame.
MOUTH: Final = np.array([[-1.2, -2.1, -1.1], [1.2, -0.2, 1.3]])
# A vertex goes with the jaw if it moves more than this share of what moves most.
WITH_JAW: Final = 0.5
# Lips that rest on each other are nearer than NEAR, and jawOpen takes them apart by PARTED at least, and by more than
# any surface between them would stretch.
NEAR, PARTED, STRETCH = 0.3, 0.15, 2.0
FEWEST: Final = 4
# Of the opening, what the network may leave, and where it is not believed any more; in between it is in part.
LEFT: Final = (0.1, 0.25)
# How far from the lips the skin goes with them.
REACH: Final = 0.5


def around_the_mouth(points: Doubles, skin: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vertices (L,) of the skin (n,) in a box around the mouth of a canonical head."""
    return skin[in_box(points[skin], MOUTH)]


def seal_lips(
    points: Doubles, displacements: NDArray[np.float32], poses: Sequence[str], around: NDArray[np.int64]
) -> None:
    """Bring lips together that jawOpen parts and mouthClose leaves apart.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    displacements : (P, S, 3) float32
        Changed in place: mouthClose alone.
    poses : sequence of str
        Names of the P poses; nothing is done without jawOpen and mouthClose.
    around
        From :func:`around_the_mouth`.
    """
    if not {"jawOpen", "mouthClose"} <= set(poses) or not len(around):
        return
    place, close = points[around], poses.index("mouthClose")
    jaw = displacements[poses.index("jawOpen"), around].astype(np.float64)
    upper, lower = _lips(place, jaw)
    if len(upper) < FEWEST:
        return
    closed = jaw + displacements[close, around]
    opening = jaw[upper] - jaw[lower]
    # Lips that press into each other, as ICT-FaceKit's do, leave less than nothing.
    left = np.einsum("nc,nc->", closed[upper] - closed[lower], opening) / np.square(opening).sum()
    share = np.clip((left - LEFT[0]) / (LEFT[1] - LEFT[0]), 0.0, 1.0)
    if share > 0:
        distance = KDTree(place[np.concatenate([upper, lower])]).query(place)[0]
        fading = np.exp(-np.square(distance / REACH))[:, None]
        displacements[close] *= 1 - share
        displacements[close, around] -= (share * fading * jaw).astype(np.float32)


def _lips(place: Doubles, jaw: Doubles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices (n,) of the upper lip and those (n,) that lie under them, as jawOpen (L, 3) tells them apart.

    Which lip is which the jaw says: the lower one goes with it. What surface joins is not taken for a pair of lips.
    """
    drop = _length(jaw)
    with_jaw = drop > WITH_JAW * np.quantile(drop, 0.95)
    above, below = np.flatnonzero(~with_jaw), np.flatnonzero(with_jaw)
    if not len(above) or not len(below):
        return above[:0], below[:0]
    distance, nearest = KDTree(place[below]).query(place[above])
    partner = below[nearest]
    parted = _length(jaw[above] - jaw[partner]) > np.maximum(STRETCH * distance, PARTED)
    lips = parted & (distance < NEAR)
    return above[lips], partner[lips]


def _length(vectors: Doubles) -> Doubles:
    return np.linalg.norm(vectors, axis=-1)
