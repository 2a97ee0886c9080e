"""Materials of a glTF file that is written: by name, and with the looks that an OBJ file gives them.

Source: Khronos glTF 2.0 specification, sections 3.8 (texture data) and 3.9 (materials).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from raf_sdk.io._images import read_image
from raf_sdk.io._obj_materials import Material, obj_materials

if TYPE_CHECKING:
    from pathlib import Path

    from raf_sdk.io._gltf_buffer import Buffer

__all__ = ["Materials"]

_MATTE: Final = {"metallicFactor": 0.0, "roughnessFactor": 0.7}  # without it, viewers draw polished metal


class Materials:
    """The materials of one file.

    Parameters
    ----------
    buffer
        Where textures go.
    source
        The file that the mesh was read from, if any.
    """

    def __init__(self, buffer: Buffer, source: Path | None) -> None:
        self._buffer = buffer
        self._looks: dict[str, Material] = {}
        if source is not None and source.suffix.lower() == ".obj" and source.is_file():
            self._looks = obj_materials(source)
        self._materials: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._textures: dict[Path, int | None] = {}

    def add(self, name: str | None) -> int:
        """Index of a new material."""
        look = self._looks.get(name or "")
        surface: dict[str, Any] = dict(_MATTE)
        entry: dict[str, Any] = {**({"name": name} if name else {}), "pbrMetallicRoughness": surface}
        if look is not None:
            texture = self._texture(look.texture)
            if texture is None:
                surface["baseColorFactor"] = [*look.colour, look.opacity]
            else:
                surface |= {
                    "baseColorTexture": {"index": texture},
                    "baseColorFactor": [1.0, 1.0, 1.0, look.opacity],
                }
            if look.opacity < 1 or look.cut_out:
                entry["alphaMode"] = "BLEND"
        self._materials.append(entry)
        return len(self._materials) - 1

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """The arrays of the file."""
        found = {"materials": self._materials}
        if self._images:
            # Each texture has an image of the same number.
            found |= {"images": self._images, "textures": [{"source": i} for i in range(len(self._images))]}
        return found

    def _texture(self, path: Path | None) -> int | None:
        if path is not None and path not in self._textures:
            self._textures[path] = None
            if (image := read_image(path)) is not None:
                data, kind = image
                view = self._buffer.view(data)
                self._textures[path] = len(self._images)
                self._images.append({"name": path.stem, "bufferView": view, "mimeType": kind})
        return None if path is None else self._textures[path]
