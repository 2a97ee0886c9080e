"""A glTF file that was read, with the shapes of its rig added; all else in it stays as it is.

Materials, textures, skeleton, animations, extensions and other morph targets are kept. Meshes that move get shapes,
others none; VRM avatars get expressions of them as well. A target that has the name of a shape is replaced where it
stands, new ones come after those that are there, so that whatever refers to a target by its number still means the same
one.

Source: Khronos glTF 2.0 specification, sections 3.7.2.2 (morph targets) and 3.11 (animations).

Axis legend: P poses, n vertices of a primitive.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshError, MeshFileError, OutputError
from raf_runtime.names import arkit_name
from raf_sdk.io._file import read_file
from raf_sdk.io._gltf_buffer import FLOAT, STILL, Buffer, shape_accessors
from raf_sdk.io._gltf_document import MAX_ELEMENTS, GltfDocument, integer
from raf_sdk.io._gltf_morph import target_names
from raf_sdk.io._gltf_pack import pack
from raf_sdk.io._gltf_read import gather
from raf_sdk.io._gltf_skin import carry
from raf_sdk.io._vrm import Bind, add_expressions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from raf_sdk._rig import Rig
    from raf_sdk.io._gltf_read import GltfHead, Placement

__all__ = ["amended"]

_SUFFIXES: Final = (".glb", ".gltf", ".vrm")
# What targets of a file may change besides positions. Beside such targets ours have to say that they do not.
_SHADING: Final = ("NORMAL", "TANGENT")
_LOG: Final = logging.getLogger(__name__)


def amended(rig: Rig) -> tuple[dict[str, Any], Buffer] | None:
    """The file that the mesh of a rig was read from, with the rig's shapes.

    Parameters
    ----------
    rig
        The rig.

    Returns
    -------
    tuple or None
        The JSON half, and the one buffer with its views and accessors. None where the mesh is not from a glTF file,
        or that file is not what it was; then a warning is logged.

    Raises
    ------
    OutputError
        Something in the file is damaged, or too large to be kept.
    """
    source = rig.mesh.source
    if source is None or source.suffix.lower() not in _SUFFIXES:
        return None
    found = _read_again(rig, source)
    if found is None:
        _LOG.warning("%s is not what was read any more: only the head and its shapes are written", source)
        return None
    document, head = found
    try:
        buffer = Buffer(document.items("bufferViews"), document.items("accessors"))
        known = len(buffer.views)
        _add_shapes(document, buffer, rig, head)
        pack(document, buffer, known)
    except MeshError as error:
        raise OutputError(
            f"{source}, of which all else is kept, is damaged: {error}; export it again, or save as .npz or .obj"
        ) from error
    return document.root, buffer


def _read_again(rig: Rig, source: Path) -> tuple[GltfDocument, GltfHead] | None:
    """The file, if the mesh of the rig is in it."""
    try:
        document = GltfDocument(read_file(source), source)
        head = gather(document)
        mesh = head.mesh(source)
    except MeshError:
        return None
    same = np.array_equal(mesh.vertices, rig.vertices) and np.array_equal(mesh.faces, rig.faces)
    return (document, head) if same else None


def _add_shapes(document: GltfDocument, buffer: Buffer, rig: Rig, head: GltfHead) -> None:
    """Give the mesh of every node that moves its shapes; of a mesh of several nodes, each that moves gets its own."""
    still = STILL * float(np.linalg.norm(np.ptp(rig.vertices.astype(np.float64), axis=0)))
    nodes = document.items("nodes")
    spelt = _spellings(document, head)
    poses = [spelt.get(name, name) for name in rig.names]
    users = Counter(
        integer(node, "mesh", "a node") for node in nodes if isinstance(node, dict) and "mesh" in node
    )
    binds: dict[str, list[Bind]] = {name: [] for name in rig.names}
    places: defaultdict[int, list[Placement]] = defaultdict(list)
    for place in head.placements:
        if place.count:
            places[place.node].append(place)
    for node, own in places.items():
        low, high = own[0].base, max(place.base + place.count for place in own)
        if not np.abs(rig.deltas[:, low:high]).max(initial=0) > still:
            continue
        shapes: dict[int, list[int]] = {}  # by the first vertex: primitives may share theirs
        for place in own:
            if place.base not in shapes:
                vertices = np.arange(place.count)
                shapes[place.base] = shape_accessors(buffer, _local(rig, place, still), vertices, 0.0)
        index = own[0].mesh
        mesh = document.item("meshes", index)
        owner = document.item("nodes", node) if nodes else {}
        if users[index] > 1:
            users[index] -= 1
            mesh, index = deepcopy(mesh), len(document.items("meshes"))
            owner["mesh"] = index
            document.items("meshes").append(mesh)
        before, rows = _add_targets(
            document, buffer, index, poses, {place.primitive: shapes[place.base] for place in own}
        )
        total = len(mesh["extras"]["targetNames"])
        for weighted in (mesh, owner) if "weights" in owner else (mesh,):
            weights = weighted.get("weights", [])
            if not isinstance(weights, list):
                raise MeshFileError(f"the weights of meshes[{index}] are not an array")
            kept = {row: weight for row, weight in enumerate(weights[:before]) if row not in rows}
            weighted["weights"] = [kept.get(row, 0.0) for row in range(total)]
        if before:
            _widen_animations(document, buffer, node, before, total)
        for name, delta, row in zip(rig.names, rig.deltas[:, low:high], rows, strict=True):
            if np.abs(delta).max() > still:
                binds[name].append((node, index, row))
    add_expressions(document.root, binds)


def _spellings(document: GltfDocument, head: GltfHead) -> dict[str, str]:
    """How the file spells the names of ARKit's shapes, those that it has."""
    spelt: dict[str, str] = {}
    for place in head.placements:
        for name in target_names(document, place.mesh, place.primitive):
            if name is not None and (shape := arkit_name(name)):
                spelt.setdefault(shape, name)
    return spelt


def _local(rig: Rig, place: Placement, still: float) -> Iterator[NDArray[np.float32]]:
    """Displacements (n, 3) of a primitive in its own frame, pose by pose; what is at most ``still`` is zero."""
    back = np.linalg.pinv(place.world[..., :3, :3].astype(np.float64))
    for delta in rig.deltas[:, place.base : place.base + place.count]:
        moved = np.where(np.linalg.norm(delta, axis=1, keepdims=True) > still, delta, 0)
        with np.errstate(over="ignore"):
            local = carry(back, moved, move=False).astype(np.float32)
        if not np.isfinite(local).all():
            raise MeshFileError(f"nodes[{place.node}] has a scale that is too small")
        yield local


def _add_targets(
    document: GltfDocument,
    buffer: Buffer,
    index: int,
    poses: Sequence[str],
    shapes: Mapping[int, list[int]],
) -> tuple[int, list[int]]:
    """Add morph targets to all primitives of a mesh, as glTF asks.

    Parameters
    ----------
    document, buffer
        The file, and what is added to it.
    index
        Of the mesh, changed in place.
    poses
        P names.
    shapes
        For each primitive that has triangles P accessors; others get targets that stay.

    Returns
    -------
    before
        How many targets each primitive had.
    rows
        The numbers of the P targets.
    """
    mesh = document.item("meshes", index)
    names = max((target_names(document, index, i) for i in range(len(mesh["primitives"]))), key=len)
    before = len(names)
    titles = [f"target_{number}" if name is None else name for number, name in enumerate(names)]
    row_of = {arkit_name(title) or title: row for row, title in reversed(list(enumerate(titles)))}
    rows: list[int] = []
    for pose in poses:
        rows.append(row_of.get(arkit_name(pose) or pose, len(titles)))
        titles += [pose] if rows[-1] == len(titles) else []
    for number, primitive in enumerate(mesh["primitives"]):
        targets = primitive.get("targets", [])
        own, kept = shapes.get(number), [key for key in _SHADING if any(key in target for target in targets)]
        stays = None if own and not kept else _stays(document, buffer, primitive)
        primitive["targets"] = [*targets, *({} for _ in range(len(titles) - len(targets)))]
        for row, accessor in zip(rows, own or [stays] * len(rows), strict=True):
            primitive["targets"][row] = {"POSITION": accessor, **dict.fromkeys(kept, stays)}
    mesh["extras"] = {**document.item_or_empty(mesh, "extras"), "targetNames": titles}
    return before, rows


def _stays(document: GltfDocument, buffer: Buffer, primitive: dict[str, Any]) -> int:
    """Displacements of a primitive that are all zero."""
    attributes = document.item_or_empty(primitive, "attributes")
    positions = document.item("accessors", integer(attributes, "POSITION", "a primitive"))
    count = integer(positions, "count", "its positions")
    if not 0 < count <= MAX_ELEMENTS:
        raise MeshFileError(f"a primitive has {count:,} vertices; 1 to {MAX_ELEMENTS:,} are read")
    everything = np.zeros(count, np.int64)
    return shape_accessors(buffer, [np.zeros((1, 3), np.float32)], everything, 0.0)[0]


def _widen_animations(document: GltfDocument, buffer: Buffer, node: int, before: int, total: int) -> None:
    """Let animations of a node's weights, of which they hold so many a frame, hold zeros for the new ones."""
    for index in range(len(document.items("animations"))):
        where = f"animations[{index}]"
        animation = document.item("animations", index)
        channels, samplers = animation.get("channels"), animation.get("samplers")
        if not isinstance(channels, list) or not isinstance(samplers, list):
            raise MeshFileError(f"{where} has no channels or no samplers")
        for channel in channels:
            target = document.item_or_empty(channel, "target") if isinstance(channel, dict) else {}
            if target.get("path") != "weights" or target.get("node") != node:
                continue
            number = integer(channel, "sampler", where)
            if number >= len(samplers) or not isinstance(samplers[number], dict):
                raise MeshFileError(f"{where} has no samplers[{number}]")
            values = document.accessor(integer(samplers[number], "output", where), 1)
            frames = len(values) // before
            if frames * before != len(values) or frames * total > MAX_ELEMENTS:
                raise MeshFileError(f"{where} has {len(values):,} weights of {before} morph targets")
            wide = np.zeros((frames, total), np.float32)
            wide[:, :before] = values.reshape(frames, before)
            view = buffer.view(wide.tobytes())
            output = buffer.accessor(bufferView=view, componentType=FLOAT, count=wide.size, type="SCALAR")
            channel["sampler"] = len(samplers)
            samplers.append({**samplers[number], "output": output})
