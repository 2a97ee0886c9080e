"""One rig to learn from: a topology, its ARKit shapes, and a way to draw identities.

Axis legend: V vertices, F faces, P = 52 poses, M identity modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from raf_runtime.contract import ARKIT_POSES
from raf_training.errors import DataError

__all__ = ["Floats", "RigSource", "Sampler", "Shapes", "Strange", "build_source"]

Floats = NDArray[np.float32]
Shapes = dict[str, Floats]  # name -> (V, 3) displacements
Sampler = Callable[[np.random.Generator], Floats]

# The pose whose motion is centred on each anchor, the first that a rig has.
_ANCHOR_POSES: Final = (("eyeBlinkLeft",), ("eyeBlinkRight",), ("mouthPucker", "mouthFunnel"))


@dataclass(frozen=True, slots=True, eq=False)
class Strange:
    """What a rig makes of faces that are strangers to it (see :mod:`raf_training.data.consensus`).

    Attributes
    ----------
    deltas
        ``(52, V, 3) float32`` displacements, archive unit.
    toward
        ``(D, V, 3) float32`` from the rig's mean face to those of D other families, canonical unit.
    """

    deltas: Floats
    toward: Floats


@dataclass(frozen=True, slots=True, eq=False)
class RigSource:
    """A rig of the training data: Y up, +Z out of the face, the character's left at +X.

    Attributes
    ----------
    name
        Unique name: ``ict``, ``makehuman``, ``makehuman/female1605``, ``vitruvian``.
    family
        Rigs of one family share identities and shapes; hold out whole families, not single rigs.
    attribution
        What the licence asks to be said wherever weights learned from this rig go.
    faces
        ``(F, 4) int32`` quads; a triangle has -1 in the last column.
    neutral
        ``(V, 3) float32`` mean identity, archive unit.
    deltas
        ``(52, V, 3) float32`` displacements in the order of ``ARKIT_POSES``, archive unit; absent ones are 0.
    mask
        ``(52,) bool``, False where the rig lacks the shape. On a mesh without a tongue, an empty tongueOut is
        the truth and not masked.
    part
        ``(V,) int32`` label of the connected component.
    anchor_weights
        ``(3, V) float32``, rows sum to 1: left eye, right eye, mouth.
    modes
        ``(M, V, 3) float32`` identity displacements at weight 1.
    sample_weights
        Draws the ``(M,)`` weights of one identity.
    fit_weights
        ``(V,) float32`` summing to 1, or None: where given, identities are moved and scaled to fit the
        neutral face there. The shapes do not depend on the identity, so that the face must keep its size.
    held_out
        Whether the rig is for tests only; None where training and tests draw identities, or warps, of their own.
    strange
        What is made of faces that are strangers to the rig; None: what is made of its own.
    """

    name: str
    family: str
    attribution: str
    faces: NDArray[np.int32]
    neutral: Floats
    deltas: Floats
    mask: NDArray[np.bool_]
    part: NDArray[np.int32]
    anchor_weights: Floats
    modes: Floats
    sample_weights: Sampler
    fit_weights: Floats | None = None
    held_out: bool | None = None
    strange: Strange | None = None

    @property
    def is_alone(self) -> bool:
        """Whether training and tests have nothing but this one head of the rig."""
        return not len(self.modes) and self.held_out is None

    def identity(self, rng: np.random.Generator) -> Floats:
        """Draw one identity.

        Parameters
        ----------
        rng
            The only source of chance: equal states give equal identities.

        Returns
        -------
        (V, 3) float32
            Neutral vertices of that identity, archive unit and frame.
        """
        weights = self.sample_weights(rng)
        moved = weights.astype(np.float32) @ self.modes.reshape(len(weights), self.neutral.size)
        vertices: Floats = self.neutral + moved.reshape(-1, 3).astype(np.float32, copy=False)
        return vertices if self.fit_weights is None else _fit(vertices, self.neutral, self.fit_weights)

    def anchors(self, vertices: Floats) -> Floats:
        """Locate eyes and mouth on any identity of this rig.

        Parameters
        ----------
        vertices
            ``(V, 3) float32`` neutral vertices of an identity, any unit and frame.

        Returns
        -------
        (3, 3) float32
            Rows: the character's left eye (at +X), right eye, mouth.
        """
        return self.anchor_weights @ vertices


def _fit(vertices: Floats, target: Floats, weights: Floats) -> Floats:
    """Scale and move ``vertices`` so that their weighted mean and variance are those of ``target``."""
    centre, goal = weights @ vertices, weights @ target
    spread = float(weights @ ((vertices - centre) ** 2).sum(1))
    wanted = float(weights @ ((target - goal) ** 2).sum(1))
    return ((vertices - centre) * np.float32(np.sqrt(wanted / spread)) + goal).astype(np.float32)


def build_source(
    *,
    name: str,
    family: str,
    attribution: str,
    faces: NDArray[np.int32],
    neutral: Floats,
    shapes: Mapping[str, Floats],
    modes: NDArray[np.float16],
    sample_weights: Sampler,
    keep_face_size: bool,
    anchors: Floats | None = None,
    held_out: bool | None = None,
) -> RigSource:
    """Make a source; mask, parts, anchors and fit weights follow from the faces and the shapes.

    Parameters
    ----------
    name, family, attribution, faces, neutral, modes, sample_weights, held_out
        As in :class:`RigSource`.
    shapes
        ARKit name -> ``(V, 3)`` displacements; poses left out are masked.
    keep_face_size
        Whether identities are fitted to the neutral where the shapes move the face.
    anchors
        ``(3, 3)`` where the anchors of the neutral shall lie: those of the mesh that this one is bound to.
        None: at the centroids of the shapes' motion.

    Returns
    -------
    RigSource

    Raises
    ------
    DataError
        If the rig lacks a shape that its anchors are made of, has a shape that ARKit has not, or faces, shapes or
        modes that do not fit its vertices.
    """
    _check(name, faces, neutral, shapes, modes)
    mask = np.array([pose in shapes for pose in ARKIT_POSES])
    deltas = np.zeros((len(ARKIT_POSES), *neutral.shape), np.float32)
    for pose, shape in shapes.items():
        deltas[ARKIT_POSES.index(pose)] = shape
    energy = (deltas**2).sum(2)
    rows = [next((pose for pose in poses if pose in shapes), poses[0]) for poses in _ANCHOR_POSES]
    anchor_weights = energy[[ARKIT_POSES.index(pose) for pose in rows]]
    if not anchor_weights.any(axis=1).all():
        raise DataError(f"{name} lacks one of {', '.join(rows)}, which its anchors are made of; map it")
    anchor_weights /= anchor_weights.sum(1, keepdims=True)
    if anchors is not None:
        anchor_weights = np.stack(
            [_tilt(row, neutral, goal) for row, goal in zip(anchor_weights, anchors, strict=True)]
        )
    motion = np.sqrt(energy.sum(0))
    return RigSource(
        name=name,
        family=family,
        attribution=attribution,
        faces=faces,
        neutral=neutral,
        deltas=deltas,
        mask=mask,
        part=_components(faces, len(neutral)),
        anchor_weights=anchor_weights,
        modes=modes.astype(np.float32),
        sample_weights=sample_weights,
        fit_weights=motion / motion.sum() if keep_face_size else None,
        held_out=held_out,
    )


def _check(
    name: str,
    faces: NDArray[np.int32],
    neutral: Floats,
    shapes: Mapping[str, Floats],
    modes: NDArray[np.float16],
) -> None:
    count = len(neutral)
    if faces.ndim != 2 or faces.shape[1] != 4 or faces[:, :3].min() < 0 or faces.max() >= count:
        raise DataError(
            f"{name}: faces {faces.shape} are not (F, 4) vertices of {count}; make its archive again"
        )
    if unknown := [pose for pose in shapes if pose not in ARKIT_POSES]:
        raise DataError(f"{name}: {unknown[0]!r} is none of the 52 ARKit shapes; rename it, or leave it out")
    for what, field in (*shapes.items(), *(("an identity mode", mode) for mode in modes[:1])):
        if field.shape != neutral.shape:
            raise DataError(
                f"{name}: {what} has {len(field)} displacements for {count} vertices; make its archive again"
            )


def _tilt(weights: Floats, points: Floats, goal: Floats) -> Floats:
    """Change ``(V,)`` weights, linearly in space, so that the mean of ``points`` comes to ``goal``."""
    offset = points - weights @ points
    spread = (weights[:, None] * offset).T @ offset
    slope = np.linalg.lstsq(spread, goal - weights @ points, rcond=None)[0]
    return (weights * (1.0 + offset @ slope)).astype(np.float32)


def _components(faces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Label the connected component of each of ``count`` vertices: ``(V,) int32``."""
    closed = np.where(faces < 0, faces[:, :1], faces)
    start, end = closed.ravel(), np.roll(closed, -1, axis=1).ravel()
    edges = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int32)
