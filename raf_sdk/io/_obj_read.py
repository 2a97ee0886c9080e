"""Wavefront OBJ in.

Read: ``v`` (first three numbers), ``vt`` (first two), ``f`` in all its forms, ``o``, ``g``, ``usemtl``.
Everything else is skipped. Axis legend: F faces, N face corners, U texture coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from raf_sdk._mesh import Group, Mesh
from raf_sdk.io._text import TextLines, number_starts, parse_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_obj"]

_SPACE, _SLASH = ord(" "), ord("/")


def read_obj(data: bytes, path: Path) -> Mesh:
    """Read an OBJ file.

    Parameters
    ----------
    data
        The content of the file.
    path
        Where it came from.

    Returns
    -------
    Mesh
        Polygons, texture coordinates and groups as in the file.

    Raises
    ------
    MeshFileError
        A line that cannot be parsed, with its number.
    MeshError
        As :class:`Mesh`.
    """
    lines = TextLines(data)
    first, second, third = lines.char(0), lines.char(1) <= _SPACE, lines.char(2) <= _SPACE
    is_vertex = (first == ord("v")) & second
    is_uv = (first == ord("v")) & (lines.char(1) == ord("t")) & third
    is_face = (first == ord("f")) & second
    is_marker = (((first == ord("o")) | (first == ord("g"))) & second) | (first == ord("u"))

    vertices = lines.rows(is_vertex, 1, 3)
    uvs = lines.rows(is_uv, 2, 2)
    sizes, vertex, uv = _faces(lines, is_face, is_vertex, is_uv)
    groups = _groups(lines, is_marker, is_face)
    if not (uv >= 0).any():
        return Mesh(vertices, vertex, sizes, groups=groups, source=path)
    return Mesh(vertices, vertex, sizes, uvs, uv, groups, path)


def _faces(
    lines: TextLines, is_face: NDArray[np.bool_], is_vertex: NDArray[np.bool_], is_uv: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Face sizes (F,), corner -> vertex (N,), corner -> UV (N,) or -1; Mesh checks ranges and narrows."""
    chars, offsets = lines.block(is_face, 1)
    if len(offsets) == 0:
        none = np.empty(0, np.int64)
        return none, none, none
    slash = chars == _SLASH
    begins = number_starts(slash | (chars <= _SPACE))
    corner = ~slash[begins - 1]  # a number after a space is a vertex; others belong to the corner before them
    begins_of_corners = begins[corner]
    sizes = np.diff(np.searchsorted(begins_of_corners, offsets), append=len(begins_of_corners))
    if sizes.min() < 3:
        raise lines.error(
            int(np.flatnonzero(is_face)[np.argmax(sizes < 3)]), "a face needs 3 corners or more"
        )
    # A texture coordinate comes right after its vertex, with a single slash between them ("v//vn" has two).
    is_second = ~corner & ~slash[begins - 2]
    is_second[1:] &= corner[:-1]
    headless = slash[1:] & (chars[:-1] <= _SPACE)  # "/2": a corner without a vertex
    chars[slash] = _SPACE
    values = None if headless.any() else parse_numbers(chars, np.int64, len(begins))
    if values is None:
        raise lines.unreadable(is_face, int)

    face = np.repeat(np.arange(len(sizes)), sizes)
    vertex = _zero_based(values[corner], face, lines, is_face, is_vertex)
    owner = np.cumsum(corner)[is_second] - 1
    uv = np.full(len(vertex), -1, np.int64)
    uv[owner] = _zero_based(values[is_second], face[owner], lines, is_face, is_uv)
    return sizes, vertex, uv


def _zero_based(
    index: NDArray[np.int64],
    face: NDArray[np.int64],
    lines: TextLines,
    is_face: NDArray[np.bool_],
    is_element: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """OBJ counts from 1; a negative index counts back from the last element above the face."""
    result = index - 1
    if len(index) == 0 or index.min() > 0:
        return result
    line = np.flatnonzero(is_face)[face]
    relative = index < 0
    result[relative] = np.cumsum(is_element)[line[relative]] + index[relative]
    bad = result < 0
    if bad.any():
        at = int(np.argmax(bad))
        problem = f"index {index[at]} points at nothing (OBJ indices start at 1, or at -1 counting back)"
        raise lines.error(int(line[at]), problem)
    return result


def _groups(lines: TextLines, is_marker: NDArray[np.bool_], is_face: NDArray[np.bool_]) -> tuple[Group, ...]:
    """Cut the faces into runs at every ``o``, ``g`` and ``usemtl``; runs without faces are dropped."""
    markers = np.flatnonzero(is_marker)
    cuts = [*np.cumsum(is_face)[markers].tolist(), int(is_face.sum())]
    groups = [Group("", None, 0, cuts[0])]
    for line, first, end in zip(markers.tolist(), cuts[:-1], cuts[1:], strict=True):
        keyword, *rest = lines.text(line).split(None, 1)
        name, material = groups[-1].name, groups[-1].material
        value = rest[0].strip().decode("utf-8", errors="replace") if rest else ""
        if keyword == b"usemtl":
            material = value or None
        elif keyword in (b"o", b"g"):
            name = value
        groups.append(Group(name, material, first, end - first))
    groups = [group for group in groups if group.face_count]
    return () if groups == [Group("", None, 0, cuts[-1])] else tuple(groups)
