"""NumPy archives of rigs and heads: read within bounds and checked whole, written whole or not at all."""

from __future__ import annotations

import math
import secrets
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raf_training.errors import DataError

__all__ = [
    "RAGGED",
    "Arrays",
    "Layout",
    "check_layout",
    "check_new",
    "check_ragged",
    "read_archive",
    "write_archive",
]

Arrays = dict[str, NDArray[Any]]
# Array name -> its axes; equal letters are equal sizes.
Layout = Mapping[str, tuple[str | int, ...]]

# Heads of different topologies in one archive, one after the other: head i has the vertices from
# vertex_offsets[i] to vertex_offsets[i + 1], and faces, from face_offsets[i], whose indices are its own.
RAGGED: Final[Layout] = {
    "names": ("N",),
    "vertices": ("V", 3),
    "faces": ("F", "C"),
    "vertex_offsets": ("O",),
    "face_offsets": ("O",),
}

# Unpacked, all arrays together. The largest of the shipped families has 20 MB; 150 heads of 5,000 vertices with
# 52 shapes have 0.5 GB.
MAX_BYTES: Final = 4 << 30
DEFLATE: Final = 1032  # the most bytes that deflate packs into one

_UNREADABLE: Final = (
    *(OSError, ValueError, EOFError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError),  # the last two of headers
)


# Its type takes one of the arrays for an option.
_save: Any = np.savez_compressed


def read_archive(path: Path, layout: Layout | None = None) -> Arrays:
    """Read every array of an ``.npz`` archive; nothing is ever unpickled, and no header is believed.

    Parameters
    ----------
    path
        The archive.
    layout
        What it must hold, with which axes.

    Returns
    -------
    dict
        Array name -> array.

    Raises
    ------
    DataError
        If the file is missing, damaged or unpacks to more than ``MAX_BYTES``, an array is missing or has other
        axes, or a number is not finite.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; make it with `raf-data`, or pass the folder that holds it")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            size = sum(entry.file_size for entry in entries.values())
            if size > MAX_BYTES:
                raise DataError(
                    f"{path} unpacks to {size:,} bytes; at most {MAX_BYTES:,} are read: divide it"
                )
            if size > DEFLATE * path.stat().st_size:
                raise ValueError(f"{size:,} bytes cannot come out of it")
            arrays = {name: _read(archive, entry) for name, entry in entries.items()}
    except _UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is not a readable .npz archive ({error}); make it again with `raf-data`"
        ) from error
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise DataError(
                f"{path}: {name}[{', '.join(map(str, place))}] is {array[place]}; make it again with `raf-data`"
            )
    check_layout(path, arrays, layout or {})
    return arrays


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """One array. NumPy allocates what its header promises, so that must be no more than the archive holds."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(file)
    if dtype.hasobject or any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"{entry.filename} promises {shape} of {dtype} in {entry.file_size:,} bytes")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def check_layout(path: Path, arrays: Arrays, layout: Layout) -> None:
    """Check that arrays are there and have the axes that a layout gives them.

    Raises
    ------
    DataError
        If not.
    """
    sizes: dict[str, int] = {}
    for name, axes in layout.items():
        if name not in arrays:
            raise DataError(f"{path} lacks {name!r}; make it again with `raf-data`")
        found = arrays[name].shape
        wanted = tuple(
            sizes.setdefault(axis, n) if isinstance(axis, str) else axis
            for axis, n in zip(axes, found, strict=False)
        )
        if len(found) != len(axes) or found != wanted:
            text = ", ".join(f"{axis} = {sizes[axis]}" if axis in sizes else str(axis) for axis in axes)
            raise DataError(
                f"{path}: {name} has the shape {found}, not ({text}); make it again with `raf-data`"
            )


def check_ragged(path: Path, arrays: Arrays) -> None:
    """Check the offsets and the faces of an archive with the layout ``RAGGED``.

    Raises
    ------
    DataError
        If offsets do not rise from 0 to the end, names repeat, or a face refers to a vertex that its head lacks.
    """
    names, faces = arrays["names"].tolist(), arrays["faces"]
    if len(set(names)) != len(names):
        raise DataError(f"{path}: two heads have the same name; make it again with `raf-data`")
    for name, total in (("vertex_offsets", len(arrays["vertices"])), ("face_offsets", len(faces))):
        offsets = arrays[name]
        proper = offsets.dtype.kind in "iu" and len(offsets) == len(names) + 1 and not offsets[0]
        if not proper or offsets[-1] != total or (np.diff(offsets.astype(np.int64)) <= 0).any():
            raise DataError(
                f"{path}: {name} do not rise from 0 to {total} in {len(names)} steps; make it again"
            )
    if faces.dtype.kind not in "iu" or faces.shape[1] not in (3, 4):
        raise DataError(f"{path}: faces are {faces.dtype} {faces.shape}, not whole numbers (F, 3) or (F, 4)")
    counts = np.repeat(np.diff(arrays["vertex_offsets"]), np.diff(arrays["face_offsets"]))
    lowest = np.array([0, 0, 0, -1])[: faces.shape[1]]  # a triangle among quads has -1 in its last column
    bad = ((faces < lowest) | (faces >= counts[:, None])).any(axis=1)
    if bad.any():
        face = int(bad.argmax())
        head = int(np.searchsorted(arrays["face_offsets"], face, side="right")) - 1
        raise DataError(
            f"{path}: a face of {names[head]!r} is {faces[face].tolist()}, but that head has {counts[face]} vertices"
        )


def check_new(path: Path) -> None:
    """Refuse a name that cannot be written, before the work is done.

    Raises
    ------
    DataError
        If the suffix is not ``.npz``, or there is no such folder.
    """
    if path.suffix != ".npz":
        raise DataError(f"{path} does not end in .npz; archives are NumPy's")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is not a folder; make it first")


def write_archive(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` archive; it appears whole or not at all.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    temporary = path.with_name(f".raf-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            _save(file, **arrays)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)
