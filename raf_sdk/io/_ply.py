"""PLY in: text and binary, either byte order, polygons of any size.

A file is a run of elements; where the properties of each row lie is found first (:class:`_Column`), then the
few that matter are gathered. A position counts bytes in a binary file and numbers in a text file.
Axis legend: R rows of an element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk._mesh import Mesh
from raf_sdk.io._text import number_starts, parse_numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_ply"]

_TYPES: Final = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2"},
    **{"int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"},
}
_UV_NAMES: Final = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


@dataclass(frozen=True, slots=True)
class _Property:
    name: str
    dtype: np.dtype[Any]
    count_dtype: np.dtype[Any] | None  # of the length in front of a list; None for a single value


@dataclass(frozen=True, slots=True)
class _Element:
    name: str
    rows: int
    properties: list[_Property]


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the values of one property lie: (R,) positions, and (R,) lengths if it is a list."""

    dtype: np.dtype[Any]
    positions: NDArray[np.int64]
    lengths: NDArray[Any] | None


def read_ply(data: bytes, path: Path) -> Mesh:
    """Read a PLY file.

    Parameters
    ----------
    data
        The content of the file.
    path
        Where it came from.

    Returns
    -------
    Mesh
        Polygons as in the file; texture coordinates where each vertex has one.

    Raises
    ------
    MeshFileError
        No PLY header, truncated, or counts that do not fit the file.
    MeshError
        As :class:`Mesh`.
    """
    elements, body, position = _header(data)
    found: dict[str, dict[str, _Column]] = {}
    for element in elements:
        found[element.name], position = _locate(body, position, element)
        if "vertex" in found and "face" in found:
            break
    points = found.get("vertex", {})
    if not {"x", "y", "z"} <= points.keys():
        raise MeshFileError("no vertex element with x, y and z; export the mesh again")
    vertices = _gather_table(body, points, ("x", "y", "z"))
    faces = found.get("face", {})
    corners = faces.get("vertex_indices") or faces.get("vertex_index")
    if corners is None or corners.lengths is None:
        return Mesh(vertices, np.empty(0, np.int32), np.empty(0, np.int32))
    indices = _gather_lists(body, corners, corners.lengths)
    for names in _UV_NAMES:
        if set(names) <= points.keys():
            uvs = _gather_table(body, points, names)
            return Mesh(vertices, indices, corners.lengths, uvs, indices, source=path)
    return Mesh(vertices, indices, corners.lengths, source=path)


def _header(data: bytes) -> tuple[list[_Element], _Body, int]:
    """The elements in file order, the values behind them, and the position of the first."""
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if not data.startswith(b"ply") or end < 0 or start == 0:
        raise MeshFileError(
            "no PLY header ('ply' ... 'end_header' and rows after it); truncated, or another format?"
        )
    kind = ""
    elements: list[_Element] = []
    for number, line in enumerate(data[:end].decode("latin-1").splitlines(), 1):
        try:
            match line.split():
                case ["format", "ascii" | "binary_little_endian" | "binary_big_endian" as kind, *_]:
                    pass
                case ["element", name, count] if count.isdecimal():
                    elements.append(_Element(name, int(count[:18]), []))
                case ["property", "list", count_type, type_name, name]:
                    dtype, count_dtype = np.dtype(_TYPES[type_name]), np.dtype(_TYPES[count_type])
                    elements[-1].properties.append(_Property(name, dtype, count_dtype))
                case ["property", type_name, name]:
                    elements[-1].properties.append(_Property(name, np.dtype(_TYPES[type_name]), None))
                case ["ply"] | ["comment" | "obj_info", *_] | []:
                    pass
                case _:
                    raise MeshFileError(f"line {number} of the header, {line[:60]!r}, is not PLY")
        except (KeyError, IndexError) as error:
            raise MeshFileError(f"line {number} of the header, {line[:60]!r}, is not PLY") from error
    if not kind:
        raise MeshFileError("the header names no format (ascii, binary_little_endian or binary_big_endian)")
    if kind == "ascii":
        return elements, _TextBody(data[start:]), 0
    return elements, _BinaryBody(data, "<" if kind == "binary_little_endian" else ">"), start


class _BinaryBody:
    """Values addressed by byte."""

    def __init__(self, data: bytes, order: Literal["<", ">"]) -> None:
        self._bytes = np.frombuffer(data, np.uint8)
        self._order: Literal["<", ">"] = order
        self.size = len(data)

    def width(self, dtype: np.dtype[Any]) -> int:
        return dtype.itemsize

    def count(self, position: int, dtype: np.dtype[Any]) -> int:
        if dtype.itemsize == 1 and dtype.kind == "u":  # nearly every file; indexing is much faster than take
            return int(self._bytes[position])
        return _length(int(self.take(np.array([position]), dtype)[0]))

    def take(self, positions: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        raw = self._bytes[positions[:, None] + np.arange(dtype.itemsize)]
        return raw.view(dtype.newbyteorder(self._order))[:, 0]


class _TextBody:
    """Values addressed by their place in the run of numbers; line ends carry no meaning."""

    def __init__(self, data: bytes) -> None:
        chars = np.frombuffer(b" " + data, np.uint8)
        count = len(number_starts(chars <= ord(" ")))
        values = parse_numbers(chars, np.float64, count)
        if values is None:
            raise MeshFileError(
                "the rows behind the header hold something that is not a number; export the file again"
            )
        self._values = values
        self.size = count

    def width(self, dtype: np.dtype[Any]) -> int:
        return 1

    def count(self, position: int, dtype: np.dtype[Any]) -> int:
        return _length(int(self.take(np.array([position]), dtype)[0]))

    def take(self, positions: NDArray[np.int64], dtype: np.dtype[Any]) -> NDArray[Any]:
        values = self._values[positions]
        if dtype.kind == "f":
            return values
        whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)
        if not whole.all():
            raise MeshFileError(
                f"{values[np.argmin(whole)]} stands where a whole number belongs; export the file again"
            )
        return values.astype(np.int64)


def _length(count: int) -> int:
    if count < 0:
        raise MeshFileError(f"a list of length {count}; export the file again")
    return count


_Body = _BinaryBody | _TextBody


def _locate(body: _Body, start: int, element: _Element) -> tuple[dict[str, _Column], int]:
    """Find where the values of each property lie, and the position behind the element."""
    rows, properties = element.rows, element.properties
    widths = [body.width(p.dtype) for p in properties]
    heads = [body.width(p.count_dtype) if p.count_dtype is not None else 0 for p in properties]
    if rows == 0 or not properties:
        nothing = np.empty(0, np.int64)
        return {
            p.name: _Column(p.dtype, nothing, nothing if p.count_dtype else None) for p in properties
        }, start
    truncated = MeshFileError(f"the file ends before its {rows:,} rows of {element.name!r}: it is truncated")
    if rows * sum(head or width for head, width in zip(heads, widths, strict=True)) > body.size - start:
        raise truncated  # before anything is allocated for the rows that the header promises

    # Most files repeat the first row's list lengths (all triangles): try that before walking row by row.
    first, stride = _walk(body, start, 1, properties, widths, heads)
    if start + rows * stride <= body.size:
        offsets = start + np.arange(rows, dtype=np.int64) * stride
        columns: dict[str, _Column] = {}
        for p, head, (position, length) in zip(properties, heads, first, strict=True):
            positions = offsets + (position[0] - start)
            if p.count_dtype is None:
                columns[p.name] = _Column(p.dtype, positions, None)
            elif (body.take(positions - head, p.count_dtype) == length[0]).all():
                columns[p.name] = _Column(p.dtype, positions, np.full(rows, length[0], np.int64))
            else:
                break
        else:
            return columns, start + rows * stride

    walked, size = _walk(body, start, rows, properties, widths, heads)
    if start + size > body.size:
        raise truncated
    return {
        p.name: _Column(
            p.dtype, np.array(positions, np.int64), np.array(lengths, np.int64) if lengths else None
        )
        for p, (positions, lengths) in zip(properties, walked, strict=True)
    }, start + size


def _walk(
    body: _Body, start: int, rows: int, properties: list[_Property], widths: list[int], heads: list[int]
) -> tuple[list[tuple[list[int], list[int]]], int]:
    """Step through rows one by one: positions and lengths for each property, and the size of them all."""
    position = start
    found: list[tuple[list[int], list[int]]] = [([], []) for _ in properties]
    for row in range(rows):
        for p, width, head, (positions, lengths) in zip(properties, widths, heads, found, strict=True):
            count = 1
            if p.count_dtype is not None:
                if position + head > body.size:
                    raise MeshFileError(f"the file ends in row {row:,} of {rows:,}: it is truncated")
                count = body.count(position, p.count_dtype)
                lengths.append(count)
                position += head
            positions.append(position)
            position += count * width
    return found, position - start


def _gather_table(body: _Body, columns: dict[str, _Column], names: tuple[str, ...]) -> NDArray[Any]:
    """Single values of every row, (R, len(names))."""
    return np.stack([body.take(columns[n].positions, columns[n].dtype) for n in names], axis=1)


def _gather_lists(body: _Body, column: _Column, lengths: NDArray[Any]) -> NDArray[Any]:
    """All lists of a column, one after the other."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    positions = np.repeat(column.positions, lengths) + within * body.width(column.dtype)
    return body.take(positions, column.dtype).astype(np.int64)
