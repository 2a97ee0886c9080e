"""A folder of OBJ files out: neutral and poses, with the polygons, UVs and groups of the input."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.errors import OutputError
from raf_sdk.io._atomic import temporary_beside

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from raf_sdk._mesh import Mesh
    from raf_sdk._rig import Rig

__all__ = ["write_obj_folder"]

_SIGNATURE: Final = (
    b"# raf-sdk rig\n"  # the first line of every file: only folders full of these are replaced
)
_NEUTRAL: Final = "neutral"
_SAFE_NAME: Final = re.compile(r"\w[\w .+-]{0,99}")


def write_obj_folder(rig: Rig, path: Path) -> None:
    """Write ``head/neutral.obj`` and one ``head/<pose>.obj`` for each pose, for the path ``head.obj``.

    All files have the same vertices in the same order, so that other tools load them as shapes of one mesh.

    Parameters
    ----------
    rig
        What to write.
    path
        The folder, with ``.obj`` added.

    Raises
    ------
    OutputError
        The folder exists and holds anything but an earlier rig, or it holds the mesh that was read; or a pose
        name that cannot be a file name.
    OSError
        The folder cannot be written.
    """
    folder = path.with_suffix("")
    taken = {_NEUTRAL}
    for name in rig.names:
        if _SAFE_NAME.fullmatch(name) is None or name.lower() in taken:
            raise OutputError(f"pose {name!r} cannot name a file of its own; save as .glb or .npz instead")
        taken.add(name.lower())
    _check_replaceable(folder, rig.mesh.source)
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir()
        _write_files(rig, temporary)
        _swap(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check_replaceable(folder: Path, source: Path | None) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(
            f"{folder} is no folder; the OBJ files go into a folder of that name: choose another one"
        )
    if not folder.exists():
        return
    if source is not None and source.exists() and source.resolve().is_relative_to(folder.resolve()):
        raise OutputError(
            f"{folder} holds the mesh that was read ({source}); save the rig under another name"
        )
    for entry in folder.iterdir():
        if entry.is_symlink() or not entry.is_file() or not _is_ours(entry):
            raise OutputError(
                f"{folder} exists and holds {entry.name!r}, which is not part of an earlier rig; "
                "choose another name"
            )


def _is_ours(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_SIGNATURE)) == _SIGNATURE


def _swap(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = temporary_beside(folder)
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _write_files(rig: Rig, folder: Path) -> None:
    rest = (_uv_lines(rig.mesh) + _face_lines(rig.mesh)).encode("utf-8", errors="replace")
    neutral = _vertex_lines(rig.vertices)
    _write_file(folder / f"{_NEUTRAL}.obj", neutral, rest)
    for name, delta in zip(rig.names, rig.deltas, strict=True):
        posed = rig.vertices + delta
        moved = np.flatnonzero(
            (posed != rig.vertices).any(axis=1)
        )  # formatting numbers is what takes the time
        lines = neutral.copy()
        for vertex, line in zip(moved.tolist(), _vertex_lines(posed[moved]), strict=True):
            lines[vertex] = line
        _write_file(folder / f"{name}.obj", lines, rest)


def _write_file(path: Path, vertex_lines: list[str], rest: bytes) -> None:
    with path.open("xb") as file:
        file.write(_SIGNATURE)
        file.write("".join(vertex_lines).encode())
        file.write(rest)


def _vertex_lines(vertices: NDArray[np.float32]) -> list[str]:
    text = (
        "v %.9g %.9g %.9g\n" * len(vertices) % tuple(vertices.reshape(-1).tolist())
    )  # 9 digits restore float32
    return text.splitlines(keepends=True)


def _uv_lines(mesh: Mesh) -> str:
    if mesh.uvs is None:
        return ""
    return "vt %.9g %.9g\n" * len(mesh.uvs) % tuple(mesh.uvs.reshape(-1).tolist())


def _face_lines(mesh: Mesh) -> str:
    corners = [str(i) for i in (mesh.face_indices + 1).tolist()]
    if mesh.uv_indices is not None:
        uvs = (mesh.uv_indices + 1).tolist()
        corners = [f"{corner}/{uv}" if uv else corner for corner, uv in zip(corners, uvs, strict=True)]
    ends = np.cumsum(mesh.face_sizes).tolist()
    lines = [f"f {' '.join(corners[start:end])}\n" for start, end in zip([0, *ends], ends, strict=False)]
    name, material = "", None
    for group in mesh.groups:
        if group.face_count == 0:
            continue
        heading = ""
        if group.name != name:
            heading += f"g {' '.join(group.name.split())}\n"
        if group.material != material:
            heading += f"usemtl {' '.join((group.material or 'default').split())}\n"
        name, material = group.name, group.material
        lines[group.first_face] = heading + lines[group.first_face]
    return "".join(lines)
