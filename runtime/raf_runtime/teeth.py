"""Teeth and gums: found behind the skin of the mouth, the upper ones kept still, the lower ones moved as one jaw.

Axis legend: S surface vertices, P poses, n vertices of one part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.rigid import Doubles, nearest_rigid
from raf_runtime.surface import in_box

__all__ = ["behind_the_mouth", "move_teeth"]

# Corners of a box around the inside of the mouth, canonical: with room for the error of the frame.
MOUTH: Final = np.array([[-1.3, -2.1, -2.5], [1.3, -0.2, 0.45]])
# Around the box, so that the skin before its rim is seen; behind this the skin is not that of the lips and chin.
MARGIN, FRONT = 0.3, -1.2
# Share of a part that the skin hides from the front: 0.95 and more of teeth and tongues, 0.3 of a beard.
HIDDEN: Final = 0.7
SAMPLES, NEIGHBOURS, GAP = 24, 4, 0.02
FEWEST: Final = 8
# A part that sticks out with the tongue by so much on average (0.4 and more on heads like those of training, 0.13 on
# others) is one and stays soft, if it has vertices along its middle at the back as well: 0.2 and more of those there
# are within so much of its width. Lower teeth, which may stick out by 0.25, are arches and have none.
TONGUE, MIDDLE, SOME = 0.1, 0.15, 0.05
# Under jawOpen upper teeth move less than this, or than a share of what moves most, almost everywhere (0.97 of a row,
# at worst). What is still in part holds both rows, or gums (0.45).
STILL, FAR_LESS, ALMOST_ALL = 0.05, 0.4, 0.8
# Lower teeth are moved almost rigidly: distance from that over motion, at most 0.04 on ICT-FaceKit and MakeHuman.
BENT: Final = 0.1
# Jaws and tongues that the network moves less than this do not move: 0.4 mm on an adult.
LEAST: Final = 0.01
# Height of what moves in tongueOut, on average: -1.0 to -1.3 of tongues; on heads without one that of the chin, -2.1 to
# -2.3, where the network has learned of none.
LOWEST: Final = -1.7


def behind_the_mouth(
    points: Doubles, skin: NDArray[np.int64], parts: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.int64]]:
    """Parts that the skin of mouth and chin hides from the front: teeth, gums, tongues.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    skin : (n,) int64
        Vertices of the skin.
    parts : sequence of (n,) int64
        Vertices of each part that may be one.
    """
    inside = [part for part in parts if len(part) >= FEWEST and in_box(points[part], MOUTH).all()]
    around = MOUTH + np.array([[-MARGIN], [MARGIN]])
    around[0, 2] = FRONT
    face = points[skin]
    face = face[in_box(face, around)]
    if not inside or len(face) < NEIGHBOURS:
        return []
    tree = KDTree(face[:, :2])

    def hidden(part: NDArray[np.int64]) -> bool:
        sample = points[part[:: max(1, len(part) // SAMPLES)]]
        front = face[tree.query(sample[:, :2], NEIGHBOURS)[1], 2].max(axis=1)
        return bool((front > sample[:, 2] + GAP).mean() > HIDDEN)

    return [part for part in inside if hidden(part)]


def move_teeth(
    points: Doubles,
    displacements: NDArray[np.float32],
    poses: Sequence[str],
    parts: Sequence[NDArray[np.int64]],
) -> None:
    """Keep upper teeth where they are and move all lower teeth by the rigid motion nearest to what is predicted.

    Which is which the network says: lower teeth follow its jawOpen, and no tongueOut unless they are an arch. All else,
    such as a tongue, gums in one piece, or both rows in one, stays as it is. A tongueOut that moves next to nothing,
    or what lies under the mouth, becomes zero: the head has no tongue.

    Parameters
    ----------
    points : (S, 3) float64
        Canonical positions.
    displacements : (P, S, 3) float32
        Changed in place.
    poses : sequence of str
        Names of the P poses; nothing is done without jawOpen.
    parts
        From :func:`behind_the_mouth`.
    """
    if "jawOpen" not in poses:
        return
    jaw = displacements[poses.index("jawOpen")]
    if "tongueOut" in poses:
        sticking = displacements[poses.index("tongueOut")]
        parts = [part for part in parts if _size(sticking[part]).mean() <= TONGUE or _is_arch(points[part])]
    motions = [_size(jaw[part]) for part in parts]
    little = max([STILL, *(FAR_LESS * float(motion.mean()) for motion in motions)])
    upper, lower = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    for part, motion in zip(parts, motions, strict=True):
        still = (motion < little).mean()
        if still > ALMOST_ALL:
            upper.append(part)
        elif still < 1 - ALMOST_ALL:
            bent = _size(nearest_rigid(points[part], jaw[None, part])[0] - jaw[part])
            if bent.mean() < BENT * motion.mean():
                lower.append(part)
    if upper:
        together = np.concatenate(upper)
        for pose in displacements:
            pose[together] = 0
    if lower:
        together = np.concatenate(lower)
        rigid = nearest_rigid(points[together], displacements.take(together, axis=1))
        rigid[np.einsum("pnx,pnx->pn", rigid, rigid).max(axis=1) < LEAST**2] = 0
        for name, pose, motion in zip(poses, displacements, rigid, strict=True):
            pose[together] = 0 if name == "tongueOut" else motion
    if "tongueOut" in poses and not _is_of_a_tongue(points, displacements[poses.index("tongueOut")]):
        displacements[poses.index("tongueOut")] = 0


def _is_of_a_tongue(points: Doubles, motion: NDArray[np.float32]) -> bool:
    """Whether a motion (S, 3) is one, and of what lies in the mouth."""
    energy = np.einsum("nx,nx->n", motion, motion)
    return bool(energy.max() >= LEAST**2 and energy @ points[:, 1] > LOWEST * energy.sum())


def _is_arch(part: Doubles) -> bool:
    """Whether the back half of a part's vertices (n, 3) leaves its middle free."""
    low, high = part.min(axis=0), part.max(axis=0)
    x = part[part[:, 2] <= (low[2] + high[2]) / 2, 0]
    return bool((np.abs(x - (low[0] + high[0]) / 2) < MIDDLE * (high[0] - low[0])).mean() < SOME)


def _size(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.linalg.norm(vectors, axis=-1)
