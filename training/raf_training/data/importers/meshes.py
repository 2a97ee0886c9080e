"""Mesh files of an upstream tree: read with the SDK's readers, and all of one topology."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from raf_runtime.errors import MeshError
from raf_sdk.io import read_mesh
from raf_sdk.io._file import read_file
from raf_training.errors import DataError

__all__ = [
    "Faces",
    "Floats",
    "expand",
    "find_one",
    "quads",
    "read_deltas",
    "read_faces",
    "read_head",
    "read_text",
]

Floats = NDArray[np.float32]
Faces = NDArray[np.int32]


def find_one(roots: Sequence[Path], pattern: str, what: str) -> Path:
    """Find the one file of a tree that a pattern fits.

    Raises
    ------
    DataError
        If a root is no folder, or no file, or several, are found.
    """
    for root in roots:
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; give the folder that holds {what}")
    found = sorted({path.resolve(): path for root in roots for path in root.rglob(pattern)}.values())
    where = ", ".join(map(str, roots))
    if not found:
        raise DataError(f"{where}: there is no {pattern} in it; give the folder that holds {what}")
    if len(found) > 1:
        raise DataError(f"{where}: {found[0]} and {found[1]} are both {what}; give the folder of one of them")
    return found[0]


def expand(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Path]:
    """Replace folders by the files in them with one of some suffixes, by name; no file comes twice.

    Raises
    ------
    DataError
        If a folder holds none, or two files have one name.
    """
    files: dict[str, Path] = {}
    for path in paths:
        inside = (
            sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
            if path.is_dir()
            else []
        )
        if path.is_dir() and not inside:
            raise DataError(
                f"{path} holds no file with the suffix {', '.join(suffixes)}; give another folder"
            )
        for file in inside or [path]:
            if file.stem in files:
                raise DataError(f"{files[file.stem]} and {file} are two heads of one name; rename one")
            files[file.stem] = file
    return list(files.values())


def read_text(path: Path) -> str:
    """Read a text file, of bounded size.

    Raises
    ------
    DataError
        If it is missing, too large, or no text.
    """
    try:
        return read_file(path).decode()
    except (MeshError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore the file") from error


def read_head(path: Path) -> tuple[Floats, Faces]:
    """Read vertices ``(V, 3)`` and quads ``(F, 4)``; a triangle has -1 in its last column.

    Raises
    ------
    DataError
        If the file is missing or damaged, or has a face of more than four corners.
    """
    vertices, faces, _, _ = read_faces(path)
    return vertices, faces


def read_faces(path: Path) -> tuple[Floats, Faces, Floats, Faces]:
    """Read vertices, quads, texture coordinates ``(U, 2)`` and the quads' indices into these ``(F, 4)``.

    Raises
    ------
    DataError
        As :func:`read_head`; without texture coordinates, both arrays are empty.
    """
    try:
        mesh = read_mesh(path)
    except MeshError as error:
        raise DataError(str(error)) from error
    if mesh.face_sizes.max() > 4:
        face = int(mesh.face_sizes.argmax())
        raise DataError(
            f"{path}: face {face} has {mesh.face_sizes[face]} corners; split what has more than four"
        )
    faces = quads(mesh.face_indices, mesh.face_sizes)
    if mesh.uvs is None or mesh.uv_indices is None:
        return mesh.vertices, faces, np.zeros((0, 2), np.float32), np.zeros((0, 4), np.int32)
    return mesh.vertices, faces, mesh.uvs, quads(mesh.uv_indices, mesh.face_sizes)


def quads(corners: NDArray[np.integer], sizes: NDArray[np.integer]) -> Faces:
    """Lay out corners ``(N,)`` of triangles and quads as ``(F, 4)``."""
    table = np.full((len(sizes), 4), -1, np.int32)
    table[np.arange(4) < sizes[:, None]] = corners
    return table


def read_deltas(folder: Path, names: Sequence[str], neutral: Floats, what: str) -> NDArray[np.float16]:
    """Read one OBJ file for each name and subtract the neutral.

    Parameters
    ----------
    folder
        Of the files ``NAME.obj``.
    names
        P names.
    neutral
        ``(V, 3)``.
    what
        Shown beside the progress.

    Returns
    -------
    (P, V, 3) float16

    Raises
    ------
    DataError
        If a file cannot be read, has another number of vertices, or moves one further than float16 reaches.
    """
    deltas = np.empty((len(names), *neutral.shape), np.float16)
    for row, name in enumerate(tqdm(names, desc=what, unit="file", disable=None)):
        path = folder / f"{name}.obj"
        vertices, _ = read_head(path)
        if vertices.shape != neutral.shape:
            raise DataError(
                f"{path} has {len(vertices):,} vertices, the neutral {len(neutral):,}: not one topology; "
                "restore the file"
            )
        with np.errstate(over="ignore"):
            deltas[row] = vertices - neutral
        if not np.isfinite(deltas[row]).all():
            raise DataError(
                f"{path} moves a vertex by more than {np.finfo(np.float16).max} units; restore it"
            )
    return deltas
