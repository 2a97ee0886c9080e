"""Symmetric heads move symmetrically: every vertex with a mirror image shares one prediction with it.

Axis legend: S surface vertices, P poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.rigid import Doubles
from raf_runtime.threads import two_at_a_time

__all__ = ["Mirror", "other_side"]

# How far a vertex may be from the mirror image of its partner, in canonical units: 0.2 mm on an adult. Modellers
# mirror exactly; of a scanned or a sculpted face, hardly any vertex has another so near.
TOLERANCE: Final = 0.005
# Lips and lids that touch are told apart by where they face: a normal's length, in canonical units.
NORMAL: Final = 0.02
# A part is symmetric, together with its counterpart, if this share of its vertices has a partner. Unless the skin
# is, nothing is: lashes that are should not part from lids that are not.
ALMOST_ALL: Final = 0.99
# The plane is sought with a sample of the skin, from the canonical x = 0, which is off by a degree at most.
SAMPLES, ROUNDS, NEAREST_PAIRS = 400, 8, 0.5


@dataclass(frozen=True, slots=True)
class Mirror:
    """The symmetry of one head.

    Attributes
    ----------
    partner : (S,) int64
        The vertex nearest to the mirror image of every vertex, the vertex itself where there is none.
    alone : (n,) int64
        Vertices that have none.
    normal : (3,) float64
        Unit normal of the plane of symmetry, canonical.
    """

    partner: NDArray[np.int64]
    alone: NDArray[np.int64]
    normal: Doubles

    @classmethod
    def find(
        cls, points: Doubles, normals: NDArray[np.floating], component: NDArray[np.int64], skin: int
    ) -> Mirror | None:
        """Find the symmetry of a canonical surface, or None if its skin has none.

        Parameters
        ----------
        points : (S, 3) float64
            Canonical positions.
        normals : (S, 3) float
            Unit normals there.
        component : (S,) int64
            Connected component of every vertex.
        skin : int
            The component that is the face.
        """
        plane = _plane(points, np.flatnonzero(component == skin))
        if plane is None:
            return None
        normal, offset = plane
        facing = NORMAL * normals.astype(np.float64)
        image = np.hstack([_image(points, normal, offset), _image(facing, normal, 0.0)])
        tree = _tree(np.hstack([points, facing]))
        distance, nearest = tree.query(image, distance_upper_bound=TOLERANCE)
        found = np.isfinite(distance)
        symmetric = np.bincount(component, weights=found) > ALMOST_ALL * np.bincount(component)
        if not symmetric[skin]:
            return None
        found &= symmetric[component]
        partner = np.where(found, nearest, np.arange(len(points)))
        return cls(partner.astype(np.int64), np.flatnonzero(~found), normal)

    def average(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> None:
        """Replace the displacements (P, S, 3), in place, by their mean with the mirrored ones of the partners.

        Parameters
        ----------
        displacements : (P, S, 3) float32
            Changed in place.
        poses : sequence of str
            Names of the P poses; one whose other side is missing is left alone.
        """
        reflection = (np.eye(3) - 2 * np.outer(self.normal, self.normal)).astype(np.float32)

        def average(pose: str) -> None:
            sides = [displacements[poses.index(name)] for name in dict.fromkeys([pose, other_side(pose)])]
            images = [side.take(self.partner, axis=0) @ reflection for side in reversed(sides)]
            for side, image in zip(sides, images, strict=True):
                image[self.alone] = side[self.alone]
                side += image
                side *= 0.5

        # Of each pair the one that comes first in the alphabet.
        two_at_a_time(
            average, [pose for pose in poses if pose <= (other := other_side(pose)) and other in poses]
        )


def other_side(pose: str) -> str:
    """Name of the pose seen in a mirror: jawLeft for jawRight, jawOpen for itself."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if pose.endswith(side):
            return pose.removesuffix(side) + other
    return pose


def _image(points: Doubles, normal: Doubles, offset: float) -> Doubles:
    """Points (n, 3) seen in the mirror ``normal @ point == offset``."""
    return points - 2 * (points @ normal - offset)[:, None] * normal


def _tree(points: Doubles) -> KDTree:
    """A tree that is quick to build."""
    return KDTree(points, balanced_tree=False, compact_nodes=False)


def _plane(points: Doubles, skin: NDArray[np.int64]) -> tuple[Doubles, float] | None:
    """Unit normal and offset of the plane that maps the skin (n,) onto itself, if there is one.

    Iterated closest points (Besl and McKay 1992) between a sample and its mirror image, the better half of the
    pairs each time.
    """
    face = points[skin]
    tree = _tree(face)
    sample = face[:: max(1, len(face) // SAMPLES)]
    normal, offset = np.array([1.0, 0.0, 0.0]), 0.0
    for _ in range(ROUNDS):
        distance, nearest = tree.query(_image(sample, normal, offset))
        close = distance <= np.quantile(distance, NEAREST_PAIRS)
        a, b = sample[close], face[np.asarray(nearest)[close]]
        across = a - b
        normal = np.linalg.eigh(across.T @ across)[1][:, 2]
        offset = float(((a + b) / 2 @ normal).mean())
    distance = tree.query(_image(sample, normal, offset))[0]
    return (normal, offset) if np.median(distance) < TOLERANCE else None
