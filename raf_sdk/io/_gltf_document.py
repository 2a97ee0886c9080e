"""A glTF 2.0 file as JSON, buffers and accessors; nothing in it is believed before it is checked.

Source: Khronos glTF 2.0 specification, sections 3.6 (binary data) and 4 (GLB).
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk.io._file import read_file
from raf_sdk.io._meshopt import unpack

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MAX_ELEMENTS", "MESHOPT", "GltfDocument", "integer"]

# Zeros need no data, and views may be shared: the file size does not bound the counts of accessors.
MAX_ELEMENTS: Final = 10_000_000
# What compressed views of a file may hold together: 52 shapes of a head of a million triangles, quantised.
MAX_UNPACKED: Final = 400_000_000

_COMPONENTS: Final = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS: Final = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
MESHOPT: Final = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class GltfDocument:
    """The parts of one file, found by index.

    Parameters
    ----------
    data
        The content of a ``.glb`` or ``.gltf`` file.
    path
        Where it came from; external buffers must lie in its folder or below.

    Raises
    ------
    MeshFileError
        Not glTF 2.0, truncated, or inconsistent; also from every method.
    """

    def __init__(self, data: bytes, path: Path) -> None:
        self._path = path
        self._binary: bytes | None = None
        if data.startswith(b"glTF"):
            data, self._binary = _glb_chunks(data)
        try:
            root: object = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise MeshFileError(f"its JSON cannot be parsed: {error}") from error
        if not isinstance(root, dict):
            raise MeshFileError("its JSON is not an object: no glTF file")
        self.root: dict[str, Any] = root
        version = str(self.item_or_empty(self.root, "asset").get("version", "missing"))
        if not version.startswith("2."):
            raise MeshFileError(f"glTF version {version[:20]}; only 2.0 is read: export it again")
        self._buffers: dict[int, bytes] = {}
        self._unpacked: dict[int, bytes] = {}

    @staticmethod
    def item_or_empty(owner: dict[str, Any], key: str) -> dict[str, Any]:
        """The object under a key, empty where there is none."""
        value = owner.get(key)
        return value if isinstance(value, dict) else {}

    def items(self, kind: str) -> list[Any]:
        """The top-level array of a kind, such as ``nodes``; empty where there is none."""
        value = self.root.get(kind, [])
        if not isinstance(value, list):
            raise MeshFileError(f"{kind!r} is not an array")
        return value

    def item(self, kind: str, index: int) -> dict[str, Any]:
        """One object of a top-level array."""
        items = self.items(kind)
        if index >= len(items):
            raise MeshFileError(
                f"{kind}[{index}] is referenced; the file has {len(items)} (indices start at 0)"
            )
        if not isinstance(items[index], dict):
            raise MeshFileError(f"{kind}[{index}] is not an object")
        return items[index]

    def accessor(self, index: int, width: int) -> NDArray[Any]:
        """Read an accessor.

        Parameters
        ----------
        index
            Its place in ``accessors``.
        width
            Components of each element that the caller expects.

        Returns
        -------
        ndarray
            (count, width); normalised integers as float32, other values in their own type.
        """
        where = f"accessors[{index}]"
        accessor = self.item("accessors", index)
        dtype = self._component(accessor, where)
        if _WIDTHS.get(str(accessor.get("type"))) != width:
            raise MeshFileError(
                f"{where} has type {str(accessor.get('type'))[:20]!r}; expected {width} components"
            )
        count = integer(accessor, "count", where)
        if count > MAX_ELEMENTS:
            raise MeshFileError(f"{where} promises {count:,} elements; at most {MAX_ELEMENTS:,} are read")
        if "bufferView" in accessor:
            values = self._elements(accessor, dtype, count, width, where)
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in accessor:
            values = self._substituted(values, self.item_or_empty(accessor, "sparse"), where)
        if not accessor.get("normalized") or dtype.kind == "f":
            return values
        scaled = values.astype(np.float32) / np.iinfo(dtype).max
        return np.maximum(scaled, -1) if dtype.kind == "i" else scaled

    @staticmethod
    def _component(owner: dict[str, Any], where: str) -> np.dtype[Any]:
        code = owner.get("componentType")
        if not isinstance(code, int) or code not in _COMPONENTS:
            raise MeshFileError(
                f"{where} has componentType {str(code)[:20]}; glTF has {', '.join(map(str, _COMPONENTS))}"
            )
        return np.dtype(_COMPONENTS[code])

    def _substituted(self, values: NDArray[Any], sparse: dict[str, Any], where: str) -> NDArray[Any]:
        where += ".sparse"
        count = integer(sparse, "count", where)
        places, changed = self.item_or_empty(sparse, "indices"), self.item_or_empty(sparse, "values")
        indices = self._elements(places, self._component(places, where), count, 1, where)[:, 0]
        if count and int(indices.max()) >= len(values):
            raise MeshFileError(f"{where} changes element {indices.max()}; there are {len(values)}")
        values = values.copy()
        values[indices] = self._elements(changed, values.dtype, count, values.shape[1], where)
        return values

    def _elements(
        self, owner: dict[str, Any], dtype: np.dtype[Any], count: int, width: int, where: str
    ) -> NDArray[Any]:
        """(count, width) elements of the buffer view of an accessor or of its sparse part, without a copy."""
        view_index = integer(owner, "bufferView", where)
        view, where = self.item("bufferViews", view_index), f"{where} (bufferViews[{view_index}])"
        buffer, start = self._buffer_of(view_index, view, where)
        length = integer(view, "byteLength", where)
        offset, size = integer(owner, "byteOffset", where, 0), dtype.itemsize * width
        stride = integer(view, "byteStride", where, size)
        if stride < size:
            raise MeshFileError(f"{where} has a stride of {stride} bytes for elements of {size}")
        if start + length > len(buffer):
            raise MeshFileError(
                f"{where} ends at byte {start + length:,} of a buffer of {len(buffer):,}: truncated?"
            )
        if count and offset + (count - 1) * stride + size > length:
            raise MeshFileError(
                f"{where} needs {offset + (count - 1) * stride + size:,} bytes; the view has {length:,}"
            )
        return np.ndarray(
            (count, width), dtype, buffer, start + offset if count else 0, (stride, dtype.itemsize)
        )

    def _buffer_of(self, index: int, view: dict[str, Any], where: str) -> tuple[bytes, int]:
        """The bytes that a view is in, and where it begins."""
        unpacked = self.unpacked(index)
        if unpacked is not None:
            return unpacked, 0
        return self.buffer(integer(view, "buffer", where)), integer(view, "byteOffset", where, 0)

    def unpacked(self, index: int) -> bytes | None:
        """What a view that is compressed holds, None of one that is not."""
        where = f"bufferViews[{index}]"
        extensions = self.item_or_empty(self.item("bufferViews", index), "extensions")
        packed = next((extensions[name] for name in MESHOPT if name in extensions), None)
        if packed is None:
            return None
        if not isinstance(packed, dict):
            raise MeshFileError(f"the compression of {where} is not an object")
        if index not in self._unpacked:
            start, length = integer(packed, "byteOffset", where, 0), integer(packed, "byteLength", where)
            data = self.buffer(integer(packed, "buffer", where))[start : start + length]
            count, stride = integer(packed, "count", where), integer(packed, "byteStride", where)
            total = count * stride + sum(map(len, self._unpacked.values()))
            if len(data) < length or total > MAX_UNPACKED:
                what = (
                    f"ends after {len(data):,} bytes" if len(data) < length else f"unpacks to {total:,} bytes"
                )
                raise MeshFileError(f"{where} {what}: it is damaged, or too large")
            self._unpacked[index] = unpack(data, packed.get("mode"), packed.get("filter"), count, stride)
        return self._unpacked[index]

    def buffer(self, index: int) -> bytes:
        """All bytes of a buffer, or more."""
        if index not in self._buffers:
            buffer, where = self.item("buffers", index), f"buffers[{index}]"
            data = self._binary if index == 0 and buffer.get("uri") is None else None
            if data is None:
                data = self.resource(buffer, where)
            length = integer(buffer, "byteLength", where)
            if length > len(data):
                raise MeshFileError(
                    f"{where} promises {length:,} bytes and has {len(data):,}: it is truncated"
                )
            self._buffers[index] = data
        return self._buffers[index]

    def resource(self, owner: dict[str, Any], where: str) -> bytes:
        """What the uri of a buffer or an image holds or points to, in the folder of the file or below."""
        uri = owner.get("uri")
        if not isinstance(uri, str):
            what = "has neither a uri nor a binary chunk" if uri is None else "has a uri that is not a string"
            raise MeshFileError(f"{where} {what}")
        if uri.startswith("data:"):
            head, _, text = uri.partition(",")
            try:
                return (
                    base64.b64decode(text, validate=True)
                    if head.endswith(";base64")
                    else unquote(text).encode()
                )
            except (binascii.Error, ValueError) as error:
                raise MeshFileError(f"the data uri of {where} cannot be decoded: {error}") from error
        folder, name = self._path.parent.resolve(), unquote(uri)
        if "\0" in name or not (folder / name).resolve().is_relative_to(folder):
            raise MeshFileError(
                f"{where} points outside the folder of the file ({uri[:60]!r}); nothing is read from there"
            )
        return read_file(folder / name)


def _glb_chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary chunk of a GLB container."""
    if len(data) < 20:
        raise MeshFileError(f"{len(data)} bytes are too few for GLB: it is truncated")
    version, total = (int.from_bytes(data[i : i + 4], "little") for i in (4, 8))
    if version != 2:
        raise MeshFileError(f"GLB version {version}; only 2 is read: export it again")
    if total > len(data):
        raise MeshFileError(
            f"its header promises {total:,} bytes; the file has {len(data):,}: it is truncated"
        )
    chunks: dict[bytes, bytes] = {}
    position = 12
    while position + 8 <= total:
        length, kind = (
            int.from_bytes(data[position : position + 4], "little"),
            data[position + 4 : position + 8],
        )
        position += 8
        if position + length > total:
            raise MeshFileError(
                f"a chunk promises {length:,} bytes; {total - position:,} are left: it is truncated"
            )
        chunks.setdefault(kind, data[position : position + length])
        position += length
    if b"JSON" not in chunks:
        raise MeshFileError("the GLB container has no JSON chunk")
    return chunks[b"JSON"], chunks.get(b"BIN\0")


def integer(owner: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
    """A whole number of 0 or more under a key.

    Parameters
    ----------
    owner, key
        Where it is.
    where
        What to call the owner in a message.
    default
        What a missing key stands for; None where it must be there.

    Returns
    -------
    int
        The number.

    Raises
    ------
    MeshFileError
        Missing, or not a whole number of 0 or more.
    """
    value = owner.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or value >= 1 << 53:
        raise MeshFileError(f"{where}.{key} is {str(value)[:20]}; expected a whole number of 0 or more")
    return value
