"""Buffer views that meshopt has compressed, as gltfpack and web avatars have them.

Attributes come in blocks, byte after byte of the element; of each byte the differences from element to element are
packed, sixteen at a time, in 0, 2, 4 or 8 bits. Triangles are told by edges and vertices of those before them.

Source: Khronos, "EXT_meshopt_compression", Ratified Extension for glTF 2.0, appendices A and B.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk.io._meshopt_filters import undo_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["unpack"]

_GROUP, _BLOCK_BYTES, _BLOCK_ELEMENTS, _TAIL = 16, 8192, 256, 32
# What each byte of a group in 2 and in 4 bits stands for; the largest value says that a whole byte follows.
_TWO: Final = [bytes(byte >> shift & 3 for shift in (6, 4, 2, 0)) for byte in range(256)]
_FOUR: Final = [bytes(byte >> shift & 15 for shift in (4, 0)) for byte in range(256)]
_CODES: Final = 16  # bytes behind the data of triangles


def unpack(data: bytes, mode: object, filtered: object, count: int, stride: int) -> bytes:
    """Unpack a buffer view.

    Parameters
    ----------
    data
        Its bytes in the file.
    mode
        ``"ATTRIBUTES"``, ``"TRIANGLES"`` or ``"INDICES"``.
    filtered
        See :mod:`raf_sdk.io._meshopt_filters`.
    count, stride
        How many elements of how many bytes there are.

    Returns
    -------
    bytes
        ``count * stride`` bytes.

    Raises
    ------
    MeshFileError
        Damaged, truncated, or of another kind or version.
    """
    try:
        unpacked = _KINDS[str(mode)](data, count, stride)
    except KeyError:
        raise MeshFileError(f"meshopt mode {str(mode)[:20]!r} is unknown; export it uncompressed") from None
    except IndexError:
        raise MeshFileError("what meshopt has compressed ends too early: it is truncated") from None
    return undo_filter(unpacked, filtered)


def _attributes(data: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """(count, stride) bytes of elements."""
    if stride % 4 or not 0 < stride <= 256:
        raise MeshFileError(f"meshopt elements of {stride} bytes; expected 4, 8, ... 256")
    if data[0] != 0xA0:
        raise MeshFileError(
            f"meshopt attributes of version {data[0]:#x}; only 0xa0 is read: export it uncompressed"
        )
    body, last = data[: len(data) - max(stride, _TAIL)], np.frombuffer(data[-stride:], np.uint8)
    result = np.empty((count, stride), np.uint8)
    block = min(_BLOCK_BYTES // stride // _GROUP * _GROUP, _BLOCK_ELEMENTS)
    position = 1
    for start in range(0, count, block):
        size = min(block, count - start)
        groups = -(-size // _GROUP)
        lanes = bytearray()
        for _ in range(stride):
            modes = body[position : position + -(-groups // 4)]
            position += len(modes)
            for group in range(groups):
                position = _add_group(lanes, body, position, modes[group // 4] >> group % 4 * 2 & 3)
        packed = np.frombuffer(lanes, np.uint8).reshape(stride, groups * _GROUP)[:, :size]
        steps = packed >> 1 ^ -(packed & 1)
        result[start : start + size] = (steps.cumsum(axis=1, dtype=np.uint8) + last[:, None]).T
        last = result[start + size - 1]
    return result


def _add_group(lanes: bytearray, body: bytes, position: int, mode: int) -> int:
    """Append sixteen bytes; returns where the next group begins."""
    if mode == 0:
        lanes += bytes(_GROUP)
        return position
    size = (0, 4, 8, 16)[mode]
    packed = body[position : position + size]
    position += size
    if len(packed) < size:
        raise IndexError
    if mode == 3:
        lanes += packed
        return position
    table, escape = (_TWO, 3) if mode == 1 else (_FOUR, 15)
    values = bytearray().join([table[byte] for byte in packed])
    place = values.find(escape)
    while place >= 0:
        values[place] = body[position]
        position += 1
        place = values.find(escape, place + 1)
    lanes += values
    return position


class _Numbers:
    """Whole numbers of up to five times seven bits, each a step from the one before."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position

    def next(self) -> int:
        """The next number as it stands."""
        value = shift = 0
        while shift < 35:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        return value & 0xFFFFFFFF

    def step(self) -> int:
        """The next number as a step, back or forth."""
        value = self.next()
        return value >> 1 ^ -(value & 1)

    def byte(self) -> int:
        """The next byte."""
        self.position += 1
        return self.data[self.position - 1]


def _triangles(data: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """The corners of triangles."""
    if data[0] not in (0xE0, 0xE1) or count % 3:
        raise MeshFileError(f"meshopt triangles of version {data[0]:#x} are not read; export it uncompressed")
    end = len(data) - _CODES
    recent = _Recent(_Numbers(data[:end], 1 + count // 3), 13 if data[0] == 0xE1 else 15)
    corners = list[int]()
    for code in data[1 : min(1 + count // 3, end)]:
        if code < 0xF0:
            corners += recent.beyond_edge(code >> 4, code & 15)
        elif code < 0xFE:
            kinds = data[end + (code & 15)]
            corners += recent.apart((0, kinds >> 4, kinds & 15), 16)
        else:
            kinds = recent.numbers.byte()
            recent.fresh *= kinds != 0
            corners += recent.apart((0 if code == 0xFE else 15, kinds >> 4, kinds & 15), 15)
    if len(corners) < count:
        raise IndexError
    return _whole(corners, stride)


class _Recent:
    """The last sixteen edges and vertices, the newest first, by which triangles are told."""

    def __init__(self, numbers: _Numbers, near: int) -> None:
        self.numbers, self.near = numbers, near
        self.edges, self.vertices = [(0, 0)] * 16, [0] * 16
        # The vertex that is next to be seen first, and the last that was told by a number.
        self.fresh = self.last = 0

    def beyond_edge(self, edge: int, kind: int) -> tuple[int, int, int]:
        """The triangle on the other side of an edge."""
        a, b = self.edges[edge]
        if 0 < kind < self.near:
            c = self.vertices[kind]
        else:
            # From version 1 on 13 and 14 stand for one less and one more than the last.
            c = self._seen_first() if kind == 0 else self._told(2 * (kind - 13) - 1 if kind < 15 else None)
            self._remember(c)
        self._surround((c, b), (a, c))
        return a, b, c

    def apart(self, kinds: tuple[int, int, int], told: int) -> tuple[int, int, int]:
        """A triangle that shares no edge; corners of the kind ``told`` are numbers, which follow one another."""
        found = [self._seen_first() if kind == 0 else self.vertices[kind - 1] for kind in kinds]
        for corner, kind in enumerate(kinds):
            if kind == told:
                found[corner] = self._told(None)
        for vertex, kind in zip(found, kinds, strict=True):
            if kind in (0, told):
                self._remember(vertex)
        a, b, c = found
        self._surround((b, a), (c, b), (a, c))
        return a, b, c

    def _seen_first(self) -> int:
        self.fresh += 1
        return self.fresh - 1

    def _told(self, step: int | None) -> int:
        self.last += self.numbers.step() if step is None else step
        return self.last

    def _remember(self, vertex: int) -> None:
        self.vertices.insert(0, vertex)
        self.vertices.pop()

    def _surround(self, *edges: tuple[int, int]) -> None:
        for edge in edges:
            self.edges.insert(0, edge)
        del self.edges[16:]


def _indices(data: bytes, count: int, stride: int) -> NDArray[np.uint8]:
    """Whole numbers, each a step from one of two that came before."""
    if data[0] not in (0xD0, 0xD1):
        raise MeshFileError(f"meshopt indices of version {data[0]:#x} are not read; export it uncompressed")
    numbers, last, values = _Numbers(data, 1), [0, 0], list[int]()
    for _ in range(count):
        value = numbers.next()
        step = value >> 1
        last[value & 1] += step >> 1 ^ -(step & 1)
        values.append(last[value & 1])
    return _whole(values, stride)


def _whole(values: list[int], stride: int) -> NDArray[np.uint8]:
    if stride not in (2, 4):
        raise MeshFileError(f"meshopt indices of {stride} bytes; expected 2 or 4")
    return (np.array(values, np.int64) & 0xFFFFFFFF).astype(f"<u{stride}").view(np.uint8)


_KINDS: Final[dict[str, Callable[[bytes, int, int], NDArray[np.uint8]]]] = {
    "ATTRIBUTES": _attributes,
    "TRIANGLES": _triangles,
    "INDICES": _indices,
}
