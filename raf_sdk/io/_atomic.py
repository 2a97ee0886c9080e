"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

__all__ = ["replacing", "temporary_beside"]


def temporary_beside(path: Path) -> Path:
    """An unused hidden name in the folder of a path, so that renaming it stays on one file system."""
    return path.with_name(f".raf-{secrets.token_hex(8)}.tmp")


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends, and vanishes if it fails.

    Parameters
    ----------
    path
        The file to write or replace.

    Yields
    ------
    BinaryIO
        Open for writing.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
