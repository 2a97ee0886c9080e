"""STL in, binary and text. The format shares no vertices: F triangles have 3F of them, kept in file order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk._mesh import Mesh
from raf_sdk.io._text import TextLines

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_stl"]

_HEADER: Final = 84  # 80 bytes of anything, then the number of triangles
_FACET: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(data: bytes, path: Path) -> Mesh:
    """Read an STL file.

    Parameters
    ----------
    data
        The content of the file.
    path
        Where it came from.

    Returns
    -------
    Mesh
        Triangles over 3F separate vertices.

    Raises
    ------
    MeshFileError
        Truncated, or text that cannot be parsed.
    MeshError
        As :class:`Mesh`.
    """
    count = int.from_bytes(data[80:_HEADER], "little") if len(data) >= _HEADER else 0
    needed = _HEADER + count * _FACET.itemsize
    # Binary headers may start with "solid" too, so the length decides first.
    text = data[:1024].lstrip().lower()
    if len(data) != needed and text.startswith(b"solid") and (b"facet" in text or b"endsolid" in text):
        corners = _read_text(data)
    elif len(data) < _HEADER:
        raise MeshFileError(f"{len(data)} bytes are too few for an STL file; export it again")
    elif len(data) < needed:
        raise MeshFileError(
            f"the header promises {count:,} triangles, which takes {needed:,} bytes; "
            f"the file has {len(data):,}: it is truncated or no STL file"
        )
    else:
        corners = np.frombuffer(data, _FACET, count, _HEADER)["corners"]
    vertices = corners.reshape(-1, 3)
    indices = np.arange(len(vertices), dtype=np.int32)
    return Mesh(vertices, indices, np.full(len(vertices) // 3, 3, np.int32), source=path)


def _read_text(data: bytes) -> NDArray[Any]:
    lines = TextLines(data)
    is_vertex = np.isin(lines.char(0), (ord("v"), ord("V"))) & (lines.lengths > len("vertex"))
    vertices = lines.rows(is_vertex, len("vertex"), 3)
    if len(vertices) % 3:
        raise MeshFileError(f"{len(vertices)} vertices do not make triangles (3 each): the file is truncated")
    return vertices
