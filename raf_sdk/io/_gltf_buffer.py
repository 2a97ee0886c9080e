"""The binary half of a glTF file that is being written, and shapes in it.

Source: Khronos glTF 2.0 specification, sections 3.6 (accessors, sparse accessors) and 3.7.2.2 (morph targets).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["FLOAT", "STILL", "Buffer", "index_type", "shape_accessors"]

FLOAT: Final = 5126
STILL: Final = 1e-6  # of the bounding-box diagonal: shorter displacements are left out
_VERTEX_DATA: Final = 34962
_INDEX_CODES: Final[dict[type[np.uint16 | np.uint32], int]] = {np.uint16: 5123, np.uint32: 5125}


class Buffer:
    """One buffer, with the views and accessors that describe it.

    Parameters
    ----------
    views, accessors
        Those that a file has already, to which others are added.
    """

    def __init__(
        self, views: Iterable[dict[str, Any]] = (), accessors: Iterable[dict[str, Any]] = ()
    ) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views = list(views)
        self.accessors = list(accessors)

    def append(self, data: bytes) -> int:
        """Add bytes, and others up to a multiple of four; where they begin."""
        start, padding = self.size, b"\0" * (-len(data) % 4)
        self.parts += [data, padding]
        self.size += len(data) + len(padding)
        return start

    def view(self, data: bytes, target: int | None = None) -> int:
        """Index of a new view of new bytes."""
        entry = {"buffer": 0, "byteOffset": self.append(data), "byteLength": len(data)}
        self.views.append(entry if target is None else {**entry, "target": target})
        return len(self.views) - 1

    def accessor(self, **entry: Any) -> int:
        """Index of a new accessor."""
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def vertex_data(self, values: NDArray[np.float32], *, bounds: bool = False) -> int:
        """An accessor over (n, 2 or 3) float32 with a view of its own."""
        entry = _bounds(values) if bounds else {}
        view = self.view(values.tobytes(), _VERTEX_DATA)
        kind = f"VEC{values.shape[1]}"
        return self.accessor(bufferView=view, componentType=FLOAT, count=len(values), type=kind, **entry)


def index_type(count: int) -> tuple[type[np.uint16 | np.uint32], int]:
    """The smaller type that numbers so many vertices, and its code."""
    kind = np.uint16 if count < 1 << 16 else np.uint32
    return kind, _INDEX_CODES[kind]


def shape_accessors(
    buffer: Buffer, deltas: Iterable[NDArray[np.float32]], source: NDArray[np.int64], still: float
) -> list[int]:
    """One accessor for each shape: sparse, or dense where that is smaller; all sparse ones share two views.

    Parameters
    ----------
    buffer
        Where they go.
    deltas : iterable of (V, 3) float32
        Displacements of the P shapes.
    source : (n,) int64
        Which of the V each of the n written vertices is.
    still : float
        Displacements of at most this length become zero.

    Returns
    -------
    list of int
        P accessors.
    """
    kind, code = index_type(len(source))
    sparse_bytes = np.dtype(kind).itemsize + 12
    indices: list[bytes] = []
    values: list[bytes] = []
    accessors: list[int] = []
    pending: list[tuple[dict[str, Any], int, int]] = []
    index_offset = value_offset = 0
    for delta in deltas:
        moving = np.sqrt(np.einsum("vx,vx->v", delta, delta, dtype=np.float64)) > still
        places = np.flatnonzero(moving[source])
        if len(places) * sparse_bytes >= 12 * len(source):
            accessors.append(buffer.vertex_data(np.where(moving[:, None], delta, 0)[source], bounds=True))
            continue
        if (
            len(places) == 0
        ):  # a sparse part may not be empty, and not every viewer takes an accessor without data
            places, moved = np.zeros(1, np.int64), np.zeros((1, 3), np.float32)
        else:
            moved = delta[source[places]]
        bounds = _bounds(np.pad(moved, ((0, 1), (0, 0))))  # the vertices that stay are zero
        sparse: dict[str, Any] = {"count": len(places)}
        pending.append((sparse, index_offset, value_offset))
        indices.append(places.astype(kind).tobytes())
        values.append(moved.tobytes())
        index_offset += len(indices[-1])
        value_offset += len(values[-1])
        entry = {**bounds, "sparse": sparse}
        accessors.append(buffer.accessor(componentType=FLOAT, count=len(source), type="VEC3", **entry))
    if pending:
        index_view, value_view = buffer.view(b"".join(indices)), buffer.view(b"".join(values))
        for sparse, index_offset, value_offset in pending:
            sparse["indices"] = {"bufferView": index_view, "byteOffset": index_offset, "componentType": code}
            sparse["values"] = {"bufferView": value_view, "byteOffset": value_offset}
    return accessors


def _bounds(values: NDArray[np.float32]) -> dict[str, list[float]]:
    # Along the short rows of values, reductions take ten times as long.
    columns = np.ascontiguousarray(values.T)
    return {"min": columns.min(axis=1).tolist(), "max": columns.max(axis=1).tolist()}
