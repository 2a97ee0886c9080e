"""Rigs out: by suffix, atomically, and never over the mesh that was read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.errors import OutputError
from raf_sdk.io._atomic import replacing
from raf_sdk.io._gltf_write import write_glb, write_gltf
from raf_sdk.io._obj_write import write_obj_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from raf_sdk._rig import Rig

__all__ = ["write_rig"]


def write_rig(rig: Rig, path: str | os.PathLike[str]) -> None:
    """Write a rig in the format that the suffix names.

    Parameters
    ----------
    rig
        What to write.
    path
        ``.glb``, or ``.vrm`` for a rig of one; ``.gltf``, with a ``.bin`` of the same name beside it; ``.npz``, with
        ``names``, ``deltas``, ``vertices`` and ``faces``; or ``head.obj``, which stands for a folder ``head`` with
        ``neutral.obj`` and one OBJ for each pose.

    Raises
    ------
    OutputError
        Unknown suffix, missing parent folder, no permission, full disk, or the path of the input mesh.
        Nothing is left behind then.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(_WRITERS)
        raise OutputError(f"{path} has the suffix {path.suffix!r}; the formats that are written are {known}")
    try:
        if not path.parent.is_dir():
            raise OutputError(f"{path.parent} is no folder; create it first")
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the path of a file")
        source = rig.mesh.source
        if source is not None and source.exists() and path.exists() and path.samefile(source):
            raise OutputError(f"{path} is the mesh that was read; save the rig under another name")
        writer(rig, path)
    except OutputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written: {reason}") from error


def _write_npz(rig: Rig, path: Path) -> None:
    with replacing(path) as file:
        np.savez(
            file,
            names=np.array(rig.names, dtype=np.str_),
            deltas=rig.deltas,
            vertices=rig.vertices,
            faces=rig.faces,
        )


_WRITERS: Final[dict[str, Callable[[Rig, Path], None]]] = {
    ".glb": write_glb,
    ".gltf": write_gltf,
    ".vrm": write_glb,
    ".obj": write_obj_folder,
    ".npz": _write_npz,
}
