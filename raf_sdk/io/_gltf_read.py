"""GLB and glTF in: all triangle meshes of the scene are one head.

Source: Khronos glTF 2.0 specification, section 3.7 (meshes).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk._mesh import Group, Mesh
from raf_sdk.io._gltf_document import MAX_ELEMENTS, GltfDocument, integer
from raf_sdk.io._gltf_nodes import placed_nodes
from raf_sdk.io._gltf_skin import blended, carry, joint_matrices

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["GltfHead", "Placement", "gather", "read_gltf"]

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_DRACO: Final = "KHR_draco_mesh_compression"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the vertices of a primitive of a node went: ``count`` of them from ``base`` on.

    ``world`` carries them, one matrix (4, 4) for all or (count, 4, 4).
    """

    node: int
    mesh: int
    primitive: int
    base: int
    count: int
    world: NDArray[np.floating]


@dataclass(slots=True)
class GltfHead:
    """What has been gathered so far."""

    vertices: list[NDArray[Any]] = field(default_factory=list)
    faces: list[NDArray[Any]] = field(default_factory=list)
    uvs: list[NDArray[np.float32]] = field(default_factory=list)
    uv_faces: list[NDArray[Any]] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    vertex_count: int = 0
    face_count: int = 0
    uv_count: int = 0

    def mesh(self, path: Path) -> Mesh:
        """All of it as one mesh."""
        faces = np.concatenate(self.faces).reshape(-1)
        return Mesh(
            np.concatenate(self.vertices),
            faces,
            np.full(len(faces) // 3, 3, np.int32),
            np.concatenate(self.uvs) if self.uvs else None,
            np.concatenate(self.uv_faces).reshape(-1) if self.uvs else None,
            tuple(self.groups),
            path,
        )


def read_gltf(data: bytes, path: Path) -> Mesh:
    """Read the default scene of a GLB or glTF file.

    Vertices are in accessor order, node after node in depth-first order; primitives of a node that share
    their positions share their vertices. World transforms are applied; skinned meshes are where their joints
    carry them while nothing is animated, as viewers show them. Points, lines, normals, textures and existing
    morph targets are left out.

    Parameters
    ----------
    data
        The content of the file.
    path
        Where it came from; external buffers must lie in its folder or below.

    Returns
    -------
    Mesh
        Triangles in world space, texture coordinates, and one group for each node and primitive.

    Raises
    ------
    MeshFileError
        Truncated, inconsistent, or compressed with Draco.
    MeshError
        As :class:`Mesh`.
    """
    return gather(GltfDocument(data, path)).mesh(path)


def gather(document: GltfDocument) -> GltfHead:
    """Collect the triangle meshes of the default scene, as :func:`read_gltf` describes."""
    head = GltfHead()
    placed = list(placed_nodes(document))
    worlds = {index: world for index, _, world in placed}
    for index, node, world in placed:
        if "mesh" in node and "skin" in node:
            joints = joint_matrices(document, integer(node, "skin", f"nodes[{index}]"), worlds)
            _add_mesh(document, head, index, node, joints)
        elif "mesh" in node:
            _add_mesh(document, head, index, node, world)
    if not head.vertices:
        raise MeshFileError("the scene has no triangle mesh; export the head as a mesh")
    return head


def _add_mesh(
    document: GltfDocument, head: GltfHead, place: int, node: dict[str, Any], carriers: NDArray[np.float64]
) -> None:
    """Add the primitives of nodes[place], which its world matrix (4, 4) carries or the joints (J, 4, 4) of its skin."""
    index = integer(node, "mesh", "a node")
    mesh = document.item("meshes", index)
    primitives = mesh.get("primitives", [])
    if not isinstance(primitives, list):
        raise MeshFileError(f"meshes[{index}].primitives is not an array")
    name = str(node.get("name") or mesh.get("name") or "")
    bases: dict[int, Placement] = {}  # by their POSITION accessor
    uv_bases: dict[int, tuple[int, int]] = {}
    for number, primitive in enumerate(primitives):
        where = f"meshes[{index}].primitives[{number}]"
        if not isinstance(primitive, dict):
            raise MeshFileError(f"{where} is not an object")
        mode = integer(primitive, "mode", where, _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            continue
        if _DRACO in document.item_or_empty(primitive, "extensions"):
            raise MeshFileError("the file is compressed with Draco; export it uncompressed")
        attributes = document.item_or_empty(primitive, "attributes")
        positions = integer(attributes, "POSITION", f"{where}.attributes")
        if positions not in bases:
            points = document.accessor(positions, 3).astype(np.float64)
            base = head.vertex_count
            head.vertex_count += len(points)
            _check_total(head)
            world = carriers
            if carriers.ndim == 3:
                world = blended(document, attributes, carriers, points, where)
            head.vertices.append(carry(world, points, move=True))
            bases[positions] = Placement(place, index, number, base, len(points), world)
        head.placements.append(replace(bases[positions], primitive=number))
        faces = _triangles(document, primitive, mode, bases[positions].count, where)
        # A mirroring turns triangles inside out: turn them back.
        if np.linalg.det(carriers.reshape(-1, 4, 4)[0, :3, :3]) < 0:
            faces = faces[:, ::-1]
        material = _material(document, primitive, where)
        head.groups.append(Group(name, material, head.face_count, len(faces)))
        head.face_count += len(faces)
        _check_total(head)
        head.faces.append(faces + bases[positions].base)
        head.uv_faces.append(_uv_faces(document, head, attributes, uv_bases, faces, where))


def _check_total(head: GltfHead) -> None:
    """Nodes may repeat one mesh, so the file size does not bound the head."""
    if max(head.vertex_count, head.face_count, head.uv_count) > MAX_ELEMENTS:
        raise MeshFileError(f"the scene has more than {MAX_ELEMENTS:,} vertices or triangles; decimate it")


def _triangles(
    document: GltfDocument, primitive: dict[str, Any], mode: int, count: int, where: str
) -> NDArray[np.int64]:
    """(T, 3) int64; corners left over after the last whole triangle are ignored, as renderers do."""
    if "indices" in primitive:
        corners = document.accessor(integer(primitive, "indices", where), 1)[:, 0]
        if corners.dtype.kind != "u":
            raise MeshFileError(f"the indices of {where} are not unsigned whole numbers")
        corners = corners.astype(np.int64)
    else:
        corners = np.arange(count)
    if len(corners) and corners.max() >= count:
        face = int(np.argmax(corners >= count)) // 3
        raise MeshFileError(
            f"{where}: face {face} references vertex {corners.max()}; "
            f"it has {count} vertices (indices start at 0)"
        )
    if mode == _TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    i = np.arange(max(len(corners) - 2, 0))
    if mode == _STRIP:
        return corners[np.stack([i, i + 1 + i % 2, i + 2 - i % 2], axis=1)]
    return corners[np.stack([i + 1, i + 2, np.zeros_like(i)], axis=1)]


def _uv_faces(
    document: GltfDocument,
    head: GltfHead,
    attributes: dict[str, Any],
    bases: dict[int, tuple[int, int]],
    faces: NDArray[np.int64],
    where: str,
) -> NDArray[np.int64]:
    """(T, 3) texture coordinates of the corners, -1 where the primitive has none."""
    if "TEXCOORD_0" not in attributes:
        return np.full_like(faces, -1)
    accessor = integer(attributes, "TEXCOORD_0", f"{where}.attributes")
    if accessor not in bases:
        uvs = document.accessor(accessor, 2).astype(np.float32)
        bases[accessor] = (head.uv_count, len(uvs))
        head.uv_count += len(uvs)
        _check_total(head)
        head.uvs.append(np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1))  # glTF has the origin at the top left
    base, count = bases[accessor]
    if len(faces) and faces.max() >= count:
        raise MeshFileError(f"{where} has fewer texture coordinates ({count}) than vertices")
    return faces + base


def _material(document: GltfDocument, primitive: dict[str, Any], where: str) -> str | None:
    if "material" not in primitive:
        return None
    index = integer(primitive, "material", where)
    return str(document.item("materials", index).get("name") or f"material_{index}")
