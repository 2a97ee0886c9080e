"""All that a glTF file refers to, in one buffer: what it was made of may lie in several files.

Source: Khronos glTF 2.0 specification, section 3.6.1 (buffers); its extension EXT_meshopt_compression.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from raf_runtime.errors import MeshFileError
from raf_sdk.io._gltf_document import MESHOPT, GltfDocument, integer
from raf_sdk.io._images import image_type

if TYPE_CHECKING:
    from raf_sdk.io._gltf_buffer import Buffer

__all__ = ["pack"]

# As much as a GLB file can hold.
_MOST: Final = 1 << 32
_LOG: Final = logging.getLogger(__name__)


def pack(document: GltfDocument, buffer: Buffer, count: int) -> None:
    """Append what the buffer views of a file hold, and its images, to one buffer.

    Views that are compressed are unpacked: not every tool reads them.

    Parameters
    ----------
    document
        The file; its images and the names of its extensions are changed in place.
    buffer
        Where all goes. Its first ``count`` views, changed in place, are those of the file.
    count
        How many.

    Raises
    ------
    MeshFileError
        A buffer is missing or damaged, or all together are too large.
    """
    places: dict[int, int] = {}  # where each old buffer begins now
    for index in range(count):
        where = f"bufferViews[{index}]"
        view = document.item("bufferViews", index)
        unpacked = document.unpacked(index)
        if unpacked is not None:
            view |= {"buffer": 0, "byteOffset": _append(buffer, unpacked)}
            view["extensions"] = {k: v for k, v in view["extensions"].items() if k not in MESHOPT}
            _drop_empty(view, "extensions")
            continue
        number = integer(view, "buffer", where)
        if number not in places:
            length = integer(document.item("buffers", number), "byteLength", f"buffers[{number}]")
            places[number] = _append(buffer, document.buffer(number)[:length])
        view |= {"buffer": 0, "byteOffset": integer(view, "byteOffset", where, 0) + places[number]}
    for key in ("extensionsUsed", "extensionsRequired"):
        document.root[key] = [name for name in document.items(key) if name not in MESHOPT]
        _drop_empty(document.root, key)
    for index in range(len(document.items("images"))):
        _take_in(document, buffer, document.item("images", index), f"images[{index}]")


def _drop_empty(owner: dict[str, Any], key: str) -> None:
    """GlTF has no empty lists."""
    if not owner[key]:
        del owner[key]


def _append(buffer: Buffer, data: bytes) -> int:
    if buffer.size + len(data) >= _MOST:
        raise MeshFileError("its buffers hold more than 4 GiB")
    return buffer.append(data)


def _take_in(document: GltfDocument, buffer: Buffer, image: dict[str, Any], where: str) -> None:
    """Replace the name of an image file by what is in it."""
    uri = image.get("uri")
    if not isinstance(uri, str) or uri.startswith("data:"):
        return
    try:
        data = document.resource(image, where)
    except MeshFileError as error:
        _LOG.warning("%s stays a file of its own: %s", where, error)
        return
    kind = image_type(data)
    if kind is None or buffer.size + len(data) >= _MOST:
        _LOG.warning(
            "%s (%s) stays a file of its own: glTF knows no such image, or it is too large", where, uri[:60]
        )
        return
    del image["uri"]
    image |= {"bufferView": buffer.view(data), "mimeType": kind}
