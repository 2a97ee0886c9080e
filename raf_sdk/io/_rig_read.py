"""A rig from a file: GLB and glTF of any tool, and what this package writes."""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshError, MeshFileError
from raf_sdk._mesh import Mesh
from raf_sdk._rig import Rig
from raf_sdk.io._file import MAX_FILE_BYTES, read_file
from raf_sdk.io._gltf_morph import read_gltf_rig
from raf_sdk.io._read import read_mesh

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["read_rig"]

_NEUTRAL: Final = "neutral.obj"
_ARRAYS: Final = ("names", "deltas", "vertices", "faces")
# NumPy reads an array's header with Python's own tokenizer, and passes on how that fails.
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, tokenize.TokenError)


def read_rig(path: str | os.PathLike[str], wanted: Callable[[str], object]) -> Rig:
    """Read a neutral head and its shapes.

    Parameters
    ----------
    path
        A ``.glb``, ``.gltf`` or ``.vrm`` file with morph targets, an ``.npz`` file or a folder of OBJ files as
        :meth:`Rig.save` writes them.
    wanted
        Called with the name of each shape; those for which it returns nothing are left out.

    Returns
    -------
    Rig
        With the names of the file.

    Raises
    ------
    MeshFileNotFoundError
        There is no such file.
    MeshFileError
        Another format, damaged, or no shape that is wanted; the message starts with the path.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path, wanted)
        data = read_file(path)
        if path.suffix.lower() in (".glb", ".gltf", ".vrm"):
            return Rig(*read_gltf_rig(data, path, wanted))
        if path.suffix.lower() == ".npz":
            return _read_npz(data, wanted)
    except MeshError as error:
        if str(error).startswith(str(path)):
            raise
        raise MeshFileError(f"{path}: {error}") from error
    raise MeshFileError(
        f"{path} has the suffix {path.suffix!r}; rigs are read from .glb, .gltf, .vrm, .npz, or a folder of OBJ files"
    )


def _read_npz(data: bytes, wanted: Callable[[str], object]) -> Rig:
    """``names``, ``deltas``, ``vertices``, ``faces``; nothing is unpickled, and nothing large is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = {name: _array(archive, name) for name in _ARRAYS}
    except KeyError as error:
        raise MeshFileError(f"{error.args[0]}; a rig has {', '.join(_ARRAYS)}") from error
    except (*_BROKEN, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, MeshError):
            raise
        raise MeshFileError(f"it is not an .npz archive that can be read: {error}") from error
    names, deltas = arrays["names"], arrays["deltas"]
    if names.ndim != 1 or names.dtype.kind != "U" or deltas.ndim != 3 or len(deltas) != len(names):
        raise MeshFileError(
            f"{names.dtype} names {names.shape} and deltas {deltas.shape} do not fit each other"
        )
    if deltas.dtype.kind not in "fiu":
        raise MeshFileError(f"deltas have dtype {deltas.dtype}; expected numbers")
    kept = [row for row, name in enumerate(names.tolist()) if wanted(name)]
    if not kept:
        raise MeshFileError("none of its shapes has the name of an ARKit shape")
    mesh = Mesh.from_triangles(arrays["vertices"], arrays["faces"])
    return Rig(mesh, tuple(names[kept].tolist()), deltas[kept])


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """One array; its header must promise no more than the archive holds."""
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MAX_FILE_BYTES:
        raise MeshFileError(
            f"{name} unpacks to {entry.file_size:,} bytes; at most {MAX_FILE_BYTES:,} are read"
        )
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise MeshFileError(
            f"{name} promises {shape} of {dtype} in {entry.file_size:,} bytes: it is truncated"
        )
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_folder(folder: Path, wanted: Callable[[str], object]) -> Rig:
    """``neutral.obj`` and one OBJ of the same vertices for each shape."""
    files = sorted(file for file in folder.glob("*.obj") if file.name != _NEUTRAL and wanted(file.stem))
    if not files or not (folder / _NEUTRAL).is_file():
        raise MeshFileError(f"the folder holds no {_NEUTRAL} with an OBJ file for each ARKit shape beside it")
    neutral = read_mesh(folder / _NEUTRAL)
    deltas = np.empty((len(files), len(neutral.vertices), 3), np.float32)
    for row, file in enumerate(files):
        posed = read_mesh(file).vertices
        if len(posed) != len(neutral.vertices):
            raise MeshFileError(
                f"{file.name} has {len(posed):,} vertices, {_NEUTRAL} {len(neutral.vertices):,}: not one topology"
            )
        with np.errstate(over="ignore"):  # what overflows is refused by the rig
            deltas[row] = posed - neutral.vertices
    return Rig(neutral, tuple(file.stem for file in files), deltas)
