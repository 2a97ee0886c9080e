"""The nodes of a glTF scene and where they are.

Source: Khronos glTF 2.0 specification, section 3.5 (nodes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk.io._gltf_document import GltfDocument, integer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["indices", "placed_nodes"]


def placed_nodes(document: GltfDocument) -> Iterator[tuple[int, dict[str, Any], NDArray[np.float64]]]:
    """Nodes of the default scene with their index and world matrix (4, 4), depth first."""
    count = len(document.items("nodes"))
    if count == 0:  # a library of meshes
        for index in range(len(document.items("meshes"))):
            yield index, {"mesh": index}, np.eye(4)
        return
    if document.items("scenes"):
        scene = document.item("scenes", integer(document.root, "scene", "the file", 0))
        roots = indices(scene, "nodes", "the scene")
    else:
        children = {
            c for i in range(count) for c in indices(document.item("nodes", i), "children", f"nodes[{i}]")
        }
        roots = [i for i in range(count) if i not in children]
    stack = [(index, np.eye(4)) for index in reversed(roots)]
    seen: set[int] = set()
    while stack:
        index, parent = stack.pop()
        where = f"nodes[{index}]"
        node = document.item("nodes", index)
        if index in seen:
            raise MeshFileError(f"{where} is reached twice; a node may have one parent, and no cycles")
        seen.add(index)
        world = parent @ _local_matrix(node, where)
        yield index, node, world
        stack.extend((child, world) for child in reversed(indices(node, "children", where)))


def _local_matrix(node: dict[str, Any], where: str) -> NDArray[np.float64]:
    """(4, 4) matrix of a node, from its matrix or its translation, rotation (a unit quaternion) and scale."""
    if "matrix" in node:
        return _numbers(node, "matrix", np.eye(4).reshape(-1), where).reshape(4, 4).T
    x, y, z, w = _numbers(node, "rotation", np.array([0.0, 0.0, 0.0, 1.0]), where)
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(rotation) * _numbers(node, "scale", np.ones(3), where)
    matrix[:3, 3] = _numbers(node, "translation", np.zeros(3), where)
    return matrix


def _numbers(
    owner: dict[str, Any], key: str, default: NDArray[np.float64], where: str
) -> NDArray[np.float64]:
    value = owner.get(key)
    if value is None:
        return default
    if (
        not isinstance(value, list)
        or len(value) != len(default)
        or not all(type(x) in (int, float) for x in value)
    ):
        raise MeshFileError(f"{where}.{key} is not {len(default)} numbers")
    try:
        numbers = np.array(value, np.float64)
    except OverflowError:
        numbers = np.full(len(default), np.inf)
    if not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e30:
        raise MeshFileError(f"{where}.{key} is not finite")
    return numbers


def indices(owner: dict[str, Any], key: str, where: str) -> list[int]:
    """A list of whole numbers of 0 or more under a key, empty where there is none."""
    value = owner.get(key, [])
    if not isinstance(value, list) or not all(type(x) is int and x >= 0 for x in value):
        raise MeshFileError(f"{where}.{key} is not a list of indices")
    return value
