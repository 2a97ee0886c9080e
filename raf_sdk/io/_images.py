"""Images for glTF files: as they are, or as PNG where glTF knows no such image."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Final

from raf_runtime.errors import MeshFileError
from raf_sdk.io._file import read_file

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["image_type", "read_image"]

# How images of the formats that glTF knows begin, with those of its extensions.
_TYPES: Final = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"\xabKTX 20": "image/ktx2",
}
_CORE: Final = ("image/png", "image/jpeg")
_OTHERS: Final = ("BMP", "TGA", "TIFF", "WEBP")
_LOG: Final = logging.getLogger(__name__)


def image_type(data: bytes) -> str | None:
    """Media type of an image, if glTF knows it."""
    return next((kind for start, kind in _TYPES.items() if data.startswith(start)), None)


def read_image(path: Path) -> tuple[bytes, str] | None:
    """Content and media type of an image file for a core glTF file.

    Where it cannot be read, a warning is logged.
    """
    from PIL import Image

    try:
        data = read_file(path)
        kind = image_type(data)
        if kind in _CORE:
            return data, kind
        with Image.open(io.BytesIO(data), formats=_OTHERS) as image:
            converted = io.BytesIO()
            image.convert("RGBA" if image.has_transparency_data else "RGB").save(converted, "PNG")
        return converted.getvalue(), "image/png"
    except MeshFileError as error:
        _LOG.warning("a texture is left out: %s", error)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        _LOG.warning("the texture %s is left out: %s", path, error)
    return None
