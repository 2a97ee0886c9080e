"""Any accepted kind of mesh -> :class:`~raf_sdk._mesh.Mesh`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshError, MeshFileError
from raf_sdk._mesh import Mesh
from raf_sdk.io._file import read_file
from raf_sdk.io._gltf_read import read_gltf
from raf_sdk.io._obj_read import read_obj
from raf_sdk.io._ply import read_ply
from raf_sdk.io._stl import read_stl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["as_mesh", "read_mesh"]

_READERS: Final[dict[str, Callable[[bytes, Path], Mesh]]] = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".vrm": read_gltf,
}


def read_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read one head from a mesh file.

    Vertices keep the order of the file. STL shares no vertices between triangles, so a mesh of F triangles
    has 3F of them. All meshes of a glTF scene are one head, with node transforms applied, in depth-first
    order of the nodes.

    Parameters
    ----------
    path
        An ``.obj``, ``.ply``, ``.stl``, ``.glb``, ``.gltf`` or ``.vrm`` file.

    Returns
    -------
    Mesh
        In the unit and frame of the file, with ``source`` set.

    Raises
    ------
    MeshFileNotFoundError
        There is no such file.
    MeshFileError
        Unknown suffix, truncated, inconsistent, or a mesh that :class:`Mesh` refuses; the message starts with
        the path.
    """
    path = Path(path)
    data = read_file(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise MeshFileError(f"{path} has the suffix {path.suffix!r}; the formats that are read are {known}")
    try:
        return reader(data, path)
    except MeshError as error:
        raise MeshFileError(f"{path}: {error}") from error


def as_mesh(mesh: object) -> Mesh:
    """Take a mesh in any accepted form.

    Parameters
    ----------
    mesh
        A path; a ``trimesh.Trimesh`` (taken as it is, unmodified); a pair of vertices (V, 3) and faces, (F,
        3) or (F, 4) with -1 in the last column of a triangle; or a :class:`Mesh`.

    Returns
    -------
    Mesh
        The same vertices in the same order; arrays from memory are copied.

    Raises
    ------
    MeshError
        Another type, or a mesh that :class:`Mesh` or :func:`read_mesh` refuses.
    """
    if isinstance(mesh, Mesh):
        return mesh
    if isinstance(mesh, str | os.PathLike):
        return read_mesh(mesh)
    trimesh = sys.modules.get("trimesh")  # whoever has one has imported it; importing it here costs 0.3 s
    if trimesh is not None and isinstance(mesh, trimesh.Trimesh):
        return _from_trimesh(mesh)
    if isinstance(mesh, tuple | list) and len(mesh) == 2:
        return Mesh.from_triangles(mesh[0], mesh[1])
    raise MeshError(
        f"cannot read a mesh from {type(mesh).__name__}; give a path, a trimesh.Trimesh, a (vertices, faces) "
        "pair or a raf_sdk.Mesh (of a trimesh scene: scene.to_mesh())"
    )


def _from_trimesh(mesh: Any) -> Mesh:
    faces = np.array(mesh.faces)
    uvs = getattr(mesh.visual, "uv", None)
    plain = Mesh.from_triangles(mesh.vertices, faces)
    if uvs is None or len(uvs) != len(plain.vertices):
        return plain
    return Mesh(plain.vertices, plain.face_indices, plain.face_sizes, np.array(uvs), faces.reshape(-1))
