"""One rig to learn from: a topology, its ARKit shapes, and a way to draw identities.

Axis legend: V vertices, F faces, P = 52 poses, M identity modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from raf_runtime.contract import ARKIT_POSES
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from raf_training.errors import DataError

__all__ = ["RigSource", "arkit_deltas", "build_source", "read_archive"]

Floats = NDArray[np.float32]
Sampler = Callable[[np.random.Generator], Floats]

_ANCHOR_POSES: Final = ("eyeBlinkLeft", "eyeBlinkRight", "mouthPucker")


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
        ``(52, V, 3) float32`` displacements in the order of ``ARKIT_POSES``, archive unit; zeros where absent.
    mask
        ``(52,) bool``, False where the rig lacks the shape.
    part
        ``(V,) int32`` label of the connected component.
    anchor_weights
        ``(3, V) float32``, rows sum to 1: left eye, right eye, mouth.
    modes
        ``(M, V, 3) float16`` identity displacements at weight 1.
    sample_weights
        Draws the ``(M,)`` weights of one identity.
    fit_weights
        ``(V,) float32`` summing to 1, or None: where given, identities are moved and scaled to fit the neutral
        face there. The shapes do not depend on the identity, so the face must keep its size for them to fit.
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
    modes: NDArray[np.float16]
    sample_weights: Sampler
    fit_weights: Floats | None = None

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
        used = np.flatnonzero(weights)
        moved = np.tensordot(weights[used], self.modes[used].astype(np.float32), axes=1)
        vertices = self.neutral + moved.astype(np.float32)
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
    deltas: Floats,
    mask: NDArray[np.bool_],
    modes: NDArray[np.float16],
    sample_weights: Sampler,
    keep_face_size: bool,
) -> RigSource:
    """Make a source; parts, anchors and fit weights follow from the faces and the deltas.

    Parameters
    ----------
    name, family, attribution, faces, neutral, deltas, mask, modes, sample_weights
        As in :class:`RigSource`.
    keep_face_size
        Whether identities are fitted to the neutral where the shapes move the face.

    Returns
    -------
    RigSource

    Raises
    ------
    DataError
        If the rig lacks a shape that its anchors are made of.
    """
    anchor_weights = np.empty((len(_ANCHOR_POSES), len(neutral)), np.float32)
    for row, pose in enumerate(_ANCHOR_POSES):
        motion = (deltas[ARKIT_POSES.index(pose)] ** 2).sum(1)
        if not motion.any():
            raise DataError(f"{name}: shape {pose} is absent, but eyes and mouth are located by it; map it")
        anchor_weights[row] = motion / motion.sum()
    motion = np.sqrt((deltas**2).sum(axis=(0, 2)))
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
        modes=modes,
        sample_weights=sample_weights,
        fit_weights=(motion / motion.sum()).astype(np.float32) if keep_face_size else None,
    )


def _components(faces: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Label the connected component of each of ``count`` vertices: ``(V,) int32``."""
    closed = np.where(faces < 0, faces[:, :1], faces)
    start, end = closed.ravel(), np.roll(closed, -1, axis=1).ravel()
    edges = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int32)


def arkit_deltas(
    table: Mapping[str, Mapping[str, float]], names: list[str], shapes: NDArray[np.floating]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Combine a rig's own shapes into the ARKit 52.

    Parameters
    ----------
    table
        ARKit name -> {own shape name: weight}; names left out are masked.
    names
        The S own shape names.
    shapes
        ``(S, V, 3)`` displacements.

    Returns
    -------
    deltas : (52, V, 3) float32
        Zeros where masked.
    mask : (52,) bool

    Raises
    ------
    DataError
        If the table names a shape that the archive lacks.
    """
    index = {name: i for i, name in enumerate(names)}
    if absent := sorted({own for mix in table.values() for own in mix} - index.keys()):
        raise DataError(f"archive lacks the shapes {', '.join(absent)}; make it again with `raf-data`")
    deltas = np.zeros((len(ARKIT_POSES), *shapes.shape[1:]), np.float32)
    for pose, mix in table.items():
        for own, weight in mix.items():
            deltas[ARKIT_POSES.index(pose)] += np.float32(weight) * shapes[index[own]].astype(np.float32)
    return deltas, np.array([pose in table for pose in ARKIT_POSES])


def read_archive(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read every array of an ``.npz`` archive; nothing is ever unpickled.

    Parameters
    ----------
    path
        The archive.

    Returns
    -------
    dict
        Array name -> array.

    Raises
    ------
    DataError
        If the file is missing or is not such an archive.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; make it with `raf-data`, or pass the folder that holds it")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not a readable .npz archive ({error}); make it again with `raf-data`") from error
