"""Bytes from a file that a user named, within bounds."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from raf_runtime.errors import MeshFileError, MeshFileNotFoundError

__all__ = ["MAX_FILE_BYTES", "read_file"]

# A scan of ten million triangles fits; what is larger is no head, and would not fit into memory on its way.
MAX_FILE_BYTES: Final = 1 << 30


def read_file(path: Path) -> bytes:
    """Read a whole file, or say why not.

    Parameters
    ----------
    path
        A regular file of at most :data:`MAX_FILE_BYTES`.

    Returns
    -------
    bytes
        Its content, not empty.

    Raises
    ------
    MeshFileNotFoundError
        There is no such file.
    MeshFileError
        A folder or device, empty, too large, or not readable.
    """
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise MeshFileError(f"{path} is a folder; give the path of one mesh file")
        if not stat.S_ISREG(info.st_mode):
            raise MeshFileError(f"{path} is not a regular file")
        if info.st_size > MAX_FILE_BYTES:
            raise MeshFileError(
                f"{path} has {info.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read: decimate the mesh"
            )
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MeshFileNotFoundError(f"{path} does not exist (looked in {Path.cwd()})") from error
    except OSError as error:
        raise MeshFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, MeshFileError):
            raise
        raise MeshFileError(f"{str(path)!r} is not a path: {error}") from error
    if not data:
        raise MeshFileError(f"{path} is empty (0 bytes); export it again")
    return data
