"""Morph targets of a glTF scene: one set of displacements for the one head that its meshes are.

Source: Khronos glTF 2.0 specification, section 3.7.2.2 (morph targets); ``extras.targetNames`` is a convention
of exporters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk.io._gltf_document import GltfDocument, integer
from raf_sdk.io._gltf_read import gather
from raf_sdk.io._gltf_skin import carry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from raf_sdk._mesh import Mesh
    from raf_sdk.io._gltf_read import GltfHead

__all__ = ["read_gltf_rig", "target_names"]

# Displacements of all shapes together: 52 of a million-triangle scan fit. The file size does not bound them, since
# nodes repeat meshes, and zeros need no data.
MAX_DISPLACEMENTS: Final = 40_000_000


def read_gltf_rig(
    data: bytes, path: Path, wanted: Callable[[str], object]
) -> tuple[Mesh, tuple[str, ...], NDArray[np.float32]]:
    """Read the default scene of a GLB or glTF file with its morph targets.

    Targets of one name are one shape, whichever meshes and primitives they are on; where a mesh lacks the name,
    it stays. The linear part of what carries a vertex is applied to displacements, all of it to positions. Weights
    that the file sets are left out: the neutral is the base mesh.

    Parameters
    ----------
    data
        The content of the file.
    path
        Where it came from.
    wanted
        Called with the name of each target; those for which it returns nothing are left out.

    Returns
    -------
    mesh
        As :func:`raf_sdk.io._gltf_read.read_gltf` reads it.
    names
        The P names, in the order in which the file has them.
    deltas
        (P, V, 3) float32.

    Raises
    ------
    MeshFileError
        As for meshes; no target with a wanted name; more displacements than are read.
    """
    document = GltfDocument(data, path)
    head = gather(document)
    # Primitives may share their vertices: the first of them speaks for all.
    once = {place.base: place for place in reversed(head.placements) if place.count}
    found = [
        (name, place.base, place.count, place.world, accessor)
        for place in sorted(once.values(), key=lambda place: place.base)
        for name, accessor in _targets(document, place.mesh, place.primitive)
        if wanted(name)
    ]
    names = tuple(dict.fromkeys(name for name, *_ in found))
    if not names:
        raise MeshFileError(f"no morph target has the name of an ARKit shape; {_seen(document, head)}")
    if len(names) * head.vertex_count > MAX_DISPLACEMENTS:
        raise MeshFileError(
            f"{len(names)} shapes of {head.vertex_count:,} vertices; at most {MAX_DISPLACEMENTS:,} displacements "
            "are read: decimate the head"
        )
    mesh = head.mesh(path)
    deltas = np.zeros((len(names), head.vertex_count, 3), np.float32)
    row = {name: index for index, name in enumerate(names)}
    for name, base, count, world, accessor in found:
        values = document.accessor(accessor, 3)
        if len(values) != count:
            raise MeshFileError(
                f"accessors[{accessor}], morph target {name[:40]!r}, has {len(values):,} displacements "
                f"for {count:,} vertices"
            )
        deltas[row[name], base : base + count] = carry(world, values, move=False)
    return mesh, names, deltas


def _targets(document: GltfDocument, mesh: int, number: int) -> Iterator[tuple[str, int]]:
    """Name and POSITION accessor of each morph target of a primitive that has both."""
    names = target_names(document, mesh, number)
    targets = document.item("meshes", mesh)["primitives"][number].get("targets", [])
    used: set[str] = set()
    for index, (target, name) in enumerate(zip(targets, names, strict=True)):
        if name is not None and name not in used and "POSITION" in target:
            used.add(name)
            yield name, integer(target, "POSITION", f"meshes[{mesh}].primitives[{number}].targets[{index}]")


def target_names(document: GltfDocument, mesh: int, number: int) -> list[str | None]:
    """Names of the morph targets of a primitive: what its mesh says, or it itself, or else their accessors.

    Raises
    ------
    MeshFileError
        The targets are no array of objects.
    """
    where = f"meshes[{mesh}].primitives[{number}]"
    owner = document.item("meshes", mesh)
    primitive: dict[str, Any] = owner["primitives"][number]
    targets = primitive.get("targets", [])
    if not isinstance(targets, list):
        raise MeshFileError(f"{where}.targets is not an array")
    given = [document.item_or_empty(each, "extras").get("targetNames") for each in (owner, primitive)]
    names: list[Any] = next((list(names) for names in given if isinstance(names, list)), [])
    for index, target in enumerate(targets):
        if not isinstance(target, dict):
            raise MeshFileError(f"{where}.targets[{index}] is not an object")
        if index >= len(names):
            accessor = (
                integer(target, "POSITION", f"{where}.targets[{index}]") if "POSITION" in target else None
            )
            names.append(None if accessor is None else document.item("accessors", accessor).get("name"))
    return [name if isinstance(name, str) else None for name in names[: len(targets)]]


def _seen(document: GltfDocument, head: GltfHead) -> str:
    names = [name for place in head.placements for name, _ in _targets(document, place.mesh, place.primitive)]
    if not names:
        return "it has no named targets: export the shape keys, with their names"
    shown = ", ".join(repr(name[:40]) for name in dict.fromkeys(names[:5]))
    return f"it has {shown}: rename them as ARKit does, jawOpen, eyeBlinkLeft, ..."
