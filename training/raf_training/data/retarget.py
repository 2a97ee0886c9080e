"""The classical way to rig a head: bend a rigged one onto it, then transfer its shapes.

It wants more than a mesh: the canonical frame, which part is skin, and sixteen landmarks such as one clicks on a
picture of the face. Loose parts of the source (eyeballs, teeth, tongue, lashes) follow the skin that is nearest, and
every part of the target takes its motion from what is then nearest to it.

Axis legend: V vertices and T triangles of a mesh, P poses, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from raf_runtime.frame import Frame
from raf_training.data.registration import Samples, oriented, register
from raf_training.data.rig_source import RigSource
from raf_training.data.samples import plain_head
from raf_training.data.transfer import deformation_gradients, transfer

__all__ = ["Donor", "Head"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

# Where a user clicks on a picture of a family's mean face, or of an animal, from the front: (x, y), canonical.
# On both sides: outer and inner corner of the eye, middle of the upper and the lower lid, corner of the mouth.
_PAIRS: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "ict": ((1.02, 0.47), (0.42, 0.43), (0.77, 0.58), (0.77, 0.38), (0.58, -1.12)),
    "makehuman": ((1.07, 0.49), (0.42, 0.46), (0.80, 0.60), (0.80, 0.38), (0.63, -1.15)),
    "vitruvian": ((1.06, 0.47), (0.46, 0.44), (0.80, 0.61), (0.80, 0.40), (0.61, -1.13)),
    "animals/koala": ((1.21, 0.28), (0.69, 0.30), (0.94, 0.59), (0.96, 0.06), (0.70, -0.95)),
    "animals/tiger": ((0.86, 0.38), (0.36, 0.55), (0.52, 0.85), (0.67, 0.09), (1.20, -1.45)),
    "animals/turtle": ((1.09, 0.37), (0.60, 0.40), (0.84, 0.60), (0.88, 0.11), (0.93, -0.93)),
}
# Down the middle: tip and foot of the nose, upper and lower border of the lips, upper and lower lip where they meet.
_MIDDLE: Final[dict[str, tuple[float, ...]]] = {
    "ict": (-0.22, -0.59, -0.88, -1.32, -1.07, -1.10),
    "makehuman": (-0.33, -0.67, -0.97, -1.40, -1.13, -1.17),
    "vitruvian": (-0.28, -0.60, -0.95, -1.36, -1.12, -1.15),
    "animals/koala": (-0.50, -0.95, -1.03, -1.18, -1.07, -1.13),
    "animals/tiger": (-0.60, -1.00, -1.30, -1.70, -1.42, -1.47),
    "animals/turtle": (-0.40, -0.75, -1.10, -1.30, -1.18, -1.21),
}


@dataclass(frozen=True, slots=True)
class Head:
    """A head in canonical units: vertices (V, 3), triangles (T, 3), which of them are skin (T,), landmarks (L,)."""

    vertices: Doubles
    faces: Ints
    skin: NDArray[np.bool_]
    landmarks: Ints

    @classmethod
    def of(cls, rig: RigSource, vertices: NDArray[np.float32]) -> Head:
        """An identity of a rig; landmarks are found on its mean face."""
        largest = rig.part == np.bincount(rig.part).argmax()
        mean, own = plain_head(rig, rig.neutral), plain_head(rig, vertices)
        name = rig.name if rig.name in _PAIRS else rig.family
        return cls(own.vertices, own.faces, largest[own.faces[:, 0]], _clicked(name, mean.vertices, largest))

    @classmethod
    def stranger(cls, vertices: Doubles, faces: Ints, skin: NDArray[np.bool_]) -> Head:
        """A head of no rig, in canonical units; ``skin (V,)``, landmarks where ICT's mean face has them."""
        return cls(vertices, faces, skin[faces[:, 0]], _clicked("ict", vertices, skin))

    def bent_onto(self, target: Head) -> Doubles:
        """Vertices (V, 3) once the skin fits the target's."""
        used, faces = np.unique(self.faces[self.skin], return_inverse=True)
        number = np.full(len(self.vertices), -1)
        number[used] = np.arange(len(used))
        shared = min(len(self.landmarks), len(target.landmarks))
        skin = register(
            self.vertices[used],
            faces.reshape(-1, 3),
            Samples.of(target.vertices, target.faces[target.skin]),
            number[self.landmarks[:shared]],
            target.vertices[target.landmarks[:shared]],
        )
        distance, near = KDTree(self.vertices[used]).query(self.vertices, k=8)
        share = 1 / np.maximum(distance, 1e-6)
        share /= share.sum(axis=1, keepdims=True)
        moved = np.einsum("vk,vkc->vc", share, (skin - self.vertices[used])[near])
        bent = self.vertices + moved
        bent[used] = skin
        return bent


def _clicked(name: str, vertices: Doubles, skin: NDArray[np.bool_]) -> Ints:
    """Skin vertices (L,) of a face that are in front at the places clicked on; none where nobody clicked."""
    left = np.reshape(_PAIRS.get(name, ()), (-1, 2))
    middle = np.array([(0.0, y) for y in _MIDDLE.get(name, ())]).reshape(-1, 2)
    places = np.concatenate([left, left * (-1, 1), middle])
    away = np.linalg.norm(vertices[None, :, :2] - places[:, None], axis=2) - 0.2 * vertices[:, 2]
    return np.where(skin, away, np.inf).argmin(axis=1)


@dataclass(frozen=True, slots=True)
class Donor:
    """A rigged head to take the shapes from; ``gradients`` (P, T, 3, 3) and ``motions`` (P, T, 3) are its shapes'."""

    head: Head
    gradients: list[NDArray[np.float32]]
    motions: list[NDArray[np.float32]]

    @classmethod
    def of(cls, rig: RigSource) -> Donor:
        """Take the mean head of a rig and its shapes."""
        head, shapes = Head.of(rig, rig.neutral), plain_head(rig, rig.neutral).deltas
        gradients = [deformation_gradients(head.vertices, head.faces, shape) for shape in shapes]
        motions = [shape[head.faces].mean(axis=1) for shape in shapes]
        return cls(head, [changes.astype(np.float32) for changes in gradients], motions)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which poses (P,) move anything."""
        return np.array([motion.any() for motion in self.motions], np.bool_)

    def rig(self, target: Head) -> Doubles:
        """Displacements (P, V, 3) of another head, in canonical units."""
        bent = self.head.bent_onto(target)
        near = Samples.of(bent, self.head.faces)
        own = Samples.of(target.vertices, target.faces)
        _, partner = KDTree(oriented(near.points, near.normals)).query(oriented(own.points, own.normals))
        pairs = own.face, near.face[partner]
        return transfer(target.vertices, target.faces, pairs, self.gradients, self.motions)

    def __call__(self, rig: RigSource, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Displacements (P, V, 3) of an identity of a rig, in its unit."""
        moved = self.rig(Head.of(rig, vertices))
        return (moved * Frame.from_anchors(rig.anchors(vertices)).unit).astype(np.float32)
