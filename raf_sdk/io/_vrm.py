"""Expressions of VRM avatars that drive ARKit's shapes, under the names by which face tracking finds them.

Applications call it "Perfect Sync" where an avatar has all 52: an expression of each shape, BrowInnerUp of browInnerUp.

Source: VRM Consortium, "VRM 0.x" (blendShapeMaster) and "VRMC_vrm-1.0" (expressions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raf_runtime.errors import MeshFileError
from raf_runtime.names import arkit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Bind", "add_expressions", "is_avatar"]

# Node, mesh, and number of the morph target.
Bind = tuple[int, int, int]


def is_avatar(root: dict[str, Any]) -> bool:
    """Whether the JSON half of a glTF file says that it is a VRM avatar."""
    extensions = root.get("extensions")
    return isinstance(extensions, dict) and not {"VRM", "VRMC_vrm"}.isdisjoint(extensions)


def add_expressions(root: dict[str, Any], binds: Mapping[str, Sequence[Bind]]) -> None:
    """Add an expression of each shape to a VRM avatar; those of the same name stay as they are.

    Parameters
    ----------
    root
        The JSON half of a glTF file, changed in place; nothing is done where it is no VRM avatar.
    binds
        Name of each shape, and the morph targets that are to move with it.

    Raises
    ------
    MeshFileError
        Its expressions are not what VRM says.
    """
    if not is_avatar(root):
        return
    extensions = root["extensions"]
    shapes = {
        shape[0].upper() + shape[1:]: found for name, found in binds.items() if (shape := arkit_name(name))
    }
    if isinstance(version_0 := extensions.get("VRM"), dict):
        groups = _child(_child(version_0, "blendShapeMaster", {}), "blendShapeGroups", [])
        taken = {str(group.get("name")).lower() for group in groups if isinstance(group, dict)}
        groups += [
            {
                "name": name,
                "presetName": "unknown",
                "binds": [{"mesh": mesh, "index": index, "weight": 100} for _, mesh, index in found],
                "materialValues": [],
                "isBinary": False,
            }
            for name, found in shapes.items()
            if name.lower() not in taken
        ]
    if isinstance(version_1 := extensions.get("VRMC_vrm"), dict):
        custom = _child(_child(version_1, "expressions", {}), "custom", {})
        taken = {name.lower() for name in custom}
        custom |= {
            name: {
                "isBinary": False,
                "morphTargetBinds": [
                    {"node": node, "index": index, "weight": 1.0} for node, _, index in found
                ],
            }
            for name, found in shapes.items()
            if name.lower() not in taken
        }


def _child(owner: dict[str, Any], key: str, default: Any) -> Any:
    """What is under a key, of the type of what is put there where nothing is."""
    value = owner.setdefault(key, default)
    if not isinstance(value, type(default)):
        raise MeshFileError(
            f"{key} of the VRM avatar is {type(value).__name__}, not {type(default).__name__}"
        )
    return value
