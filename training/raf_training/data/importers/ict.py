"""ICT-FaceKit light: a folder of OBJ files to ``ict_facekit.npz``.

Upstream: github.com/ICT-VGL/ICT-FaceKit, ``FaceXModel/``: ``generic_neutral_mesh.obj``, ``identity000.obj`` to
``identity099.obj`` and one file for each expression, all of one topology; ``vertex_indices.json``. The parts are the
table of its README.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_training.data.archives import check_new, write_archive
from raf_training.data.importers.meshes import find_one, read_deltas, read_faces, read_text
from raf_training.errors import DataError

__all__ = ["import_ict"]

_NEUTRAL: Final = "generic_neutral_mesh.obj"
_INDICES: Final = "vertex_indices.json"
_IDENTITIES: Final = 100
# In the files, but in no list of vertex_indices.json.
_UNLISTED: Final = ("PupilDilate_L", "PupilDilate_R", "cheekRaiser_L", "cheekRaiser_R")
# Name and number of vertices of each part, in the order of the vertices.
_PARTS: Final = {
    "face": 9409,
    "head_and_neck": 1839,
    "mouth_socket": 2046,
    "eye_socket_left": 384,
    "eye_socket_right": 384,
    "gums_and_tongue": 2977,
    "teeth": 4412,
    "eyeball_left": 1570,
    "eyeball_right": 1570,
    "lacrimal_fluid_left": 204,
    "lacrimal_fluid_right": 204,
    "eye_blend_left": 24,
    "eye_blend_right": 24,
    "eye_occlusion_left": 152,
    "eye_occlusion_right": 152,
    "eyelashes_left": 684,
    "eyelashes_right": 684,
}
_VERTICES: Final = sum(_PARTS.values())


def import_ict(root: Path, out: Path, *, partial: bool = False) -> str:
    """Write the archive.

    Parameters
    ----------
    root
        The repository, or a folder in it that holds ``FaceXModel``.
    out
        The archive, ``.npz``; in cm, float16 displacements.
    partial
        Take the expressions and identities that are there; else all must be.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    DataError
        If a file is missing, damaged, or of another topology, or ``out`` cannot be written. Nothing is written then.
    """
    check_new(out)
    neutral = find_one([root], _NEUTRAL, "ICT-FaceKit's FaceXModel")
    folder = neutral.parent
    listed, landmarks = _indices(folder / _INDICES)
    expressions, identities = (
        _present(folder, names, partial)
        for names in (sorted([*listed, *_UNLISTED]), [f"identity{i:03d}" for i in range(_IDENTITIES)])
    )
    vertices, faces, uv, faces_uv = read_faces(neutral)
    if len(vertices) != _VERTICES:
        raise DataError(
            f"{neutral} has {len(vertices):,} vertices, ICT-FaceKit light {_VERTICES:,}; restore the file"
        )
    write_archive(
        out,
        {
            "vertices": vertices,
            "faces": faces,
            "uv": uv,
            "faces_uv": faces_uv,
            "vertex_part": np.repeat(np.arange(len(_PARTS), dtype=np.int8), list(_PARTS.values())),
            "part_names": np.array(list(_PARTS)),
            "landmarks_68": landmarks,
            "identity_deltas": read_deltas(folder, identities, vertices, "identities"),
            "expression_names": np.array(expressions),
            "expression_deltas": read_deltas(folder, expressions, vertices, "expressions"),
        },
    )
    return f"{len(expressions)} expressions and {len(identities)} identities of {len(vertices):,} vertices"


def _indices(path: Path) -> tuple[list[str], NDArray[np.int32]]:
    """The names of the expressions, and the vertices of the 68 Multi-PIE landmarks."""
    text = read_text(path)
    try:
        content = json.loads(text)
        names = [str(name) for name in content["expressions"]]
        landmarks = np.array(content["idx_to_landmark_verts"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} does not list expressions and landmarks ({error}); restore it") from error
    if landmarks.shape != (68,) or landmarks.dtype.kind != "i" or not _in_range(landmarks):
        raise DataError(f"{path}: idx_to_landmark_verts are not 68 vertices of {_VERTICES}; restore it")
    if odd := [name for name in names if not name.isidentifier()]:
        raise DataError(f"{path}: {odd[0]!r} is not the name of an expression; restore it")
    return names, landmarks.astype(np.int32)


def _in_range(index: NDArray[np.integer]) -> bool:
    return bool(index.min() >= 0 and index.max() < _VERTICES)


def _present(folder: Path, names: list[str], partial: bool) -> list[str]:
    found = [name for name in names if (folder / f"{name}.obj").is_file()]
    if not found or (len(found) < len(names) and not partial):
        absent = [f"{name}.obj" for name in names if name not in found]
        raise DataError(
            f"{folder} lacks {', '.join(absent[:5])}{', ...' if len(absent) > 5 else ''} ({len(absent)} of "
            f"{len(names)} files); fetch the repository whole, or take what is there with --partial"
        )
    return found
