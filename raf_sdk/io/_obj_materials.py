"""What the materials of an OBJ file look like: colour, opacity and texture of its MTL files.

Read: ``newmtl``, ``Kd``, ``d``, ``Tr``, ``map_Kd``, ``map_d``. Source: Wavefront, "MTL material format", version 4.2
(1995).
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from raf_runtime.errors import MeshFileError
from raf_sdk.io._file import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Material", "obj_materials"]

# Options before the name of a texture, with their arguments; those of -o, -s and -t are up to three numbers.
_OPTION: Final = re.compile(r"-(?:mm\s+\S+\s+\S+|[ost](?:\s+[-+.\deE]+){1,3}|\w+\s+\S+)\s+")
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Material:
    """How a surface looks.

    Attributes
    ----------
    colour
        Red, green and blue, 0 to 1.
    opacity
        0 to 1.
    texture
        An image file that takes the place of the colour.
    cut_out
        Whether the texture is transparent in places.
    """

    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    opacity: float = 1.0
    texture: Path | None = None
    cut_out: bool = False


def obj_materials(path: Path) -> dict[str, Material]:
    """The materials that an OBJ file names, of MTL files in its folder or below.

    Files that are missing or lie elsewhere are left out, and a warning is logged. A texture that is not where the
    MTL file says, which is often a folder of the author's, is looked for beside the OBJ file.

    Parameters
    ----------
    path
        The ``.obj`` file.

    Returns
    -------
    dict
        By name.

    Raises
    ------
    MeshFileError
        The OBJ file cannot be read any more.
    """
    libraries = re.findall(rb"^[ \t]*mtllib[ \t]+(.*?)[ \t]*\r?$", read_file(path), re.MULTILINE)
    found: dict[str, Material] = {}
    for name in dict.fromkeys(library.decode("utf-8", errors="replace") for library in libraries):
        library = _beside(path.parent, name)
        if library is None:
            _LOG.warning("%s, the materials of %s, is not in its folder", name[:80], path)
            continue
        try:
            text = read_file(library).decode("utf-8", errors="replace")
        except MeshFileError as error:
            _LOG.warning("the materials of %s: %s", path, error)
            continue
        found |= dict(_materials(text, path.parent))
    return found


def _materials(text: str, folder: Path) -> Iterator[tuple[str, Material]]:
    name, material = "", Material()
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        value = value.strip()
        if keyword == "newmtl":
            if name:
                yield name, material
            name, material = value, Material()
        elif keyword == "Kd" and len(numbers := _numbers(value)) >= 3:
            material = replace(material, colour=(numbers[0], numbers[1], numbers[2]))
        elif keyword in ("d", "Tr") and (numbers := _numbers(value)):
            material = replace(material, opacity=numbers[0] if keyword == "d" else 1 - numbers[0])
        elif keyword == "map_d":
            material = replace(material, cut_out=True)
        elif keyword == "map_Kd":
            while option := _OPTION.match(value):
                value = value[option.end() :]
            texture = _beside(folder, value)
            if texture is None:
                _LOG.warning("the texture %s of material %s is not beside the mesh", value[:80], name[:80])
            material = replace(material, texture=texture)
    if name:
        yield name, material


def _numbers(text: str) -> list[float]:
    """Numbers between 0 and 1; none where one cannot be read."""
    try:
        return [min(max(float(word), 0.0), 1.0) for word in text.split()]
    except ValueError:
        return []


def _beside(folder: Path, name: str) -> Path | None:
    """A file in the folder or below, by its relative name or else by its last part alone."""
    base = folder.resolve()
    parts = name.replace("\\", "/").split("/")
    for relative in ("/".join(parts), parts[-1]):
        try:
            path = (base / relative).resolve()
            if path.is_relative_to(base) and path.is_file():
                return path
        except (OSError, ValueError):  # too long a name, or a null character
            continue
    return None
