"""What meshopt did to attributes before it packed them: unit vectors, rotations and floats take fewer bits.

Source: Khronos, "EXT_meshopt_compression", Ratified Extension for glTF 2.0, appendix B (filters).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshFileError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["undo_filter"]


def undo_filter(data: NDArray[np.uint8], name: object) -> bytes:
    """The bytes of elements (n, stride) as they were before a filter.

    Raises
    ------
    MeshFileError
        The filter is unknown, or is not of elements of this size.
    """
    if name in (None, "NONE"):
        return data.tobytes()
    strides, undo = _FILTERS.get(str(name), ((), _exponential))
    if data.shape[1] not in strides:
        raise MeshFileError(
            f"meshopt filter {str(name)[:20]!r} of {data.shape[1]} bytes is not read; export it uncompressed"
        )
    return undo(data).tobytes()


def _exponential(data: NDArray[np.uint8]) -> NDArray[Any]:
    """An exponent in the high byte, a whole number in the others, both signed."""
    words = data.reshape(-1).view("<i4")
    with np.errstate(over="ignore"):  # a mesh refuses what is not finite
        return np.ldexp((words << 8 >> 8).astype(np.float32), words >> 24).astype("<f4")


def _octahedral(data: NDArray[np.uint8]) -> NDArray[Any]:
    """Two coordinates on an octahedron, and what stands for one; the fourth value is the tangent's own."""
    kind = np.dtype("<i1" if data.shape[1] == 4 else "<i2")
    values = data.view(kind)
    one = np.maximum(values[:, 2].astype(np.float32), 1)
    x, y = values[:, 0] / one, values[:, 1] / one
    z = 1 - np.abs(x) - np.abs(y)
    fold = np.minimum(z, 0)
    x, y = x - np.copysign(fold, x), y - np.copysign(fold, y)
    most = np.float32(np.iinfo(kind).max)
    scale = most / np.sqrt(x * x + y * y + z * z)
    return np.stack([*(_rounded(along * scale) for along in (x, y, z)), values[:, 3]], axis=1).astype(kind)


def _quaternion(data: NDArray[np.uint8]) -> NDArray[Any]:
    """Three components, what stands for one, and, in its two low bits, which is left out: the largest."""
    values = data.view("<i2").astype(np.int64)
    one = (values[:, 3] | 3).astype(np.float32)
    three = values[:, :3].astype(np.float32) * (np.float32(0.5**0.5) / one)[:, None]
    largest = np.sqrt(np.maximum(1 - np.square(three).sum(axis=1), 0))
    turned = _rounded(np.column_stack([largest, three]) * np.float32(32767))
    place = ((values[:, 3] & 3)[:, None] + np.arange(4)) % 4
    result = np.empty_like(turned)
    np.put_along_axis(result, place, turned, axis=1)
    return result.astype("<i2")


def _rounded(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """To the nearest whole number, halves away from zero."""
    return np.trunc(values + np.copysign(np.float32(0.5), values))


_FILTERS: Final[dict[str, tuple[range | tuple[int, ...], Callable[[NDArray[np.uint8]], NDArray[Any]]]]] = {
    "EXPONENTIAL": (range(4, 257, 4), _exponential),
    "OCTAHEDRAL": ((4, 8), _octahedral),
    "QUATERNION": ((8,), _quaternion),
}
