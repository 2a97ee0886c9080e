"""Families of a researcher's own rigs: archives that ``raf-data import gltf`` makes.

The archive holds the heads as in :data:`raf_training.data.archives.RAGGED`, with quads or triangles; the displacements
of their shapes, and which shapes each head has.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from raf_training.data.archives import RAGGED, Arrays, Layout, check_ragged, read_archive
from raf_training.data.rig_source import RigSource, build_source
from raf_training.errors import DataError

__all__ = ["LAYOUT", "is_held_out", "load_own", "own_sources"]

LAYOUT: Final[Layout] = {
    **RAGGED,
    "expression_names": ("P",),
    "expression_deltas": ("P", "V", 3),
    "expression_mask": ("N", "P"),
    "attribution": (),
}

# Every fifth head is kept out of training, as of the Rocketbox ones: the fourth, the ninth, ...
_EVERY, _OFFSET = 5, 3
# The heads must look along +Z. Cosine of the largest angle between the line of the eyes and +X, and between the
# way from the mouth to the eyes and +Y; a muzzle puts the mouth well in front of the eyes.
_LEVEL, _UPRIGHT = 0.9, 0.4


def is_held_out(index: int, heads: int) -> bool | None:
    """Whether head ``index`` of an archive is for tests only; None where there are too few heads to hold one out."""
    return index % _EVERY == _OFFSET if heads > _OFFSET else None


def load_own(path: Path) -> list[RigSource]:
    """Read a family; its name is the file's.

    Parameters
    ----------
    path
        The archive.

    Returns
    -------
    list of RigSource
        ``FAMILY/HEAD``, each with one identity and a unit of its own.

    Raises
    ------
    DataError
        If the archive is missing or incomplete, or a head is not as :func:`own_sources` asks for.
    """
    return own_sources(path, read_archive(path, LAYOUT))


def own_sources(path: Path, archive: Arrays) -> list[RigSource]:
    """Make sources of the arrays of an archive.

    Raises
    ------
    DataError
        If arrays do not fit each other, a shape is none of ARKit's or repeats, or a head lacks the shapes that show
        where its eyes and its mouth are, or does not stand upright, looking along +Z.
    """
    check_ragged(path, archive)
    poses = archive["expression_names"].tolist()
    if len(set(poses)) != len(poses):
        raise DataError(f"{path}: a shape appears twice among {', '.join(poses)}; make it again")
    return [_source(path, archive, poses, i) for i in range(len(archive["names"]))]


def _source(path: Path, archive: Arrays, poses: list[str], index: int) -> RigSource:
    first, last = archive["vertex_offsets"][index : index + 2]
    first_face, last_face = archive["face_offsets"][index : index + 2]
    faces = archive["faces"][first_face:last_face].astype(np.int32)
    neutral = archive["vertices"][first:last].astype(np.float32)
    deltas = archive["expression_deltas"][:, first:last].astype(np.float32)
    source = build_source(
        name=f"{path.stem}/{archive['names'][index]}",
        family=path.stem,
        attribution=str(archive["attribution"]),
        faces=np.pad(faces, ((0, 0), (0, 4 - faces.shape[1])), constant_values=-1),
        neutral=neutral,
        shapes={
            pose: shape
            for pose, shape, known in zip(poses, deltas, archive["expression_mask"][index], strict=True)
            if known
        },
        modes=np.zeros((0, *neutral.shape), np.float16),
        sample_weights=lambda rng: np.zeros(0, np.float32),
        keep_face_size=False,
        held_out=is_held_out(index, len(archive["names"])),
    )
    _check_frame(source)
    return source


def _check_frame(source: RigSource) -> None:
    left, right, mouth = source.anchors(source.neutral).astype(np.float64)
    across, up = left - right, (left + right) / 2 - mouth
    level = across[0] / max(float(np.linalg.norm(across)), 1e-30)
    upright = up[1] / max(float(np.linalg.norm(up)), 1e-30)
    if level < _LEVEL or upright < _UPRIGHT:
        raise DataError(
            f"{source.name} does not stand upright, looking along +Z with its own left at +X (as glTF asks): from "
            f"eyeBlinkRight to eyeBlinkLeft it is {np.round(across, 4).tolist()}, from the mouth to the eyes "
            f"{np.round(up, 4).tolist()}; turn it, or swap the names of the sides"
        )
