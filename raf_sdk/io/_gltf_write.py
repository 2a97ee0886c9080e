"""GLB and glTF out: the glTF file that was read with the poses as morph targets, or one mesh that has them.

In that mesh glTF vertex i is input vertex i; copies that carry a second texture coordinate (UV seams) come behind the
V input vertices. Source: Khronos glTF 2.0 specification, sections 3.7.2.2 (morph targets) and 4 (GLB).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import OutputError
from raf_sdk.io._atomic import replacing
from raf_sdk.io._gltf_amend import amended
from raf_sdk.io._gltf_buffer import STILL, Buffer, index_type, shape_accessors
from raf_sdk.io._gltf_materials import Materials
from raf_sdk.io._shading import smooth_normals
from raf_sdk.io._vrm import is_avatar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from raf_sdk._mesh import Mesh
    from raf_sdk._rig import Rig

__all__ = ["write_glb", "write_gltf"]

_INDEX_DATA: Final = 34963


def write_glb(rig: Rig, path: Path) -> None:
    """Write one binary file.

    Parameters
    ----------
    rig
        What to write.
    path
        The ``.glb`` file, or ``.vrm``.

    Raises
    ------
    OutputError
        The result would pass the 4 GiB that the container can hold, or would be no VRM.
    OSError
        The file cannot be written.
    """
    document, buffer = _document(rig, None)
    if path.suffix.lower() == ".vrm" and not is_avatar(document):
        raise OutputError(f"{path} would be no VRM, for the mesh was not read from one; save as .glb instead")
    text = _json(document)
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + buffer.size
    if total >= 1 << 32:
        raise OutputError(
            f"{path} would take {total:,} bytes; GLB ends at 4 GiB: save as .gltf or .npz instead"
        )
    with replacing(path) as file:
        file.write(b"glTF" + _uint32(2, total) + _uint32(len(text)) + b"JSON" + text)
        file.write(_uint32(buffer.size) + b"BIN\0")
        file.writelines(buffer.parts)


def write_gltf(rig: Rig, path: Path) -> None:
    """Write a JSON file and its buffer.

    Parameters
    ----------
    rig
        What to write.
    path
        The ``.gltf`` file; the buffer gets the same name with ``.bin``.

    Raises
    ------
    OutputError
        The buffer's name is taken beside a glTF input, to which it may belong.
    OSError
        A file cannot be written.
    """
    binary = path.with_suffix(".bin")
    source = rig.mesh.source
    if source is not None and source.suffix.lower() == ".gltf" and binary.exists():
        if source.resolve().parent == binary.resolve().parent:
            raise OutputError(
                f"{binary} exists and may belong to the input {source}; save as .glb or elsewhere"
            )
    document, buffer = _document(rig, binary.name)
    text = _json(document)
    with replacing(path) as file, replacing(binary) as binary_file:
        binary_file.writelines(buffer.parts)
        file.write(text)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors="replace")


def _uint32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def _document(rig: Rig, uri: str | None) -> tuple[dict[str, Any], Buffer]:
    """The JSON half of the file and the binary half, which goes by that name."""
    found = amended(rig)
    root, buffer = _one_mesh(rig) if found is None else found
    own = {"byteLength": buffer.size} if uri is None else {"byteLength": buffer.size, "uri": uri}
    return {**root, "accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [own]}, buffer


def _one_mesh(rig: Rig) -> tuple[dict[str, Any], Buffer]:
    buffer, mesh = Buffer(), rig.mesh
    source, corners, uvs = _split_seams(mesh)
    attributes = {"POSITION": buffer.vertex_data(mesh.vertices[source], bounds=True)}
    attributes["NORMAL"] = buffer.vertex_data(smooth_normals(mesh.vertices, mesh.faces)[source])
    if uvs is not None:
        attributes["TEXCOORD_0"] = buffer.vertex_data(uvs)
    still = STILL * float(np.linalg.norm(np.ptp(rig.vertices.astype(np.float64), axis=0)))
    targets = [{"POSITION": accessor} for accessor in shape_accessors(buffer, rig.deltas, source, still)]

    kind, index_code = index_type(len(source))
    triangles = corners[mesh.triangle_corners].astype(kind)
    runs = _faces_by_material(mesh)
    view = buffer.view(np.concatenate([triangles[run] for _, run in runs]).tobytes(), _INDEX_DATA)
    primitives: list[dict[str, Any]] = []
    materials = Materials(buffer, mesh.source)
    offset = 0
    for name, run in runs:
        count = 3 * len(run)
        indices = buffer.accessor(
            bufferView=view, byteOffset=offset, componentType=index_code, count=count, type="SCALAR"
        )
        offset += count * triangles.itemsize
        primitive = {"attributes": attributes, "indices": indices, "material": materials.add(name)}
        primitives.append({**primitive, "targets": targets} if targets else primitive)
    name = mesh.source.stem if mesh.source is not None else "head"
    morphing = (
        {"weights": [0.0] * len(targets), "extras": {"targetNames": list(rig.names)}} if targets else {}
    )
    root = {
        "asset": {"version": "2.0", "generator": "raf-sdk"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": primitives, **morphing}],
        **materials.lists(),
    }
    return root, buffer


def _faces_by_material(mesh: Mesh) -> list[tuple[str | None, NDArray[np.int64]]]:
    """Triangles of each material, to be one primitive: viewers hold the targets once for each, so few."""
    triangles = mesh.face_sizes - 2
    material = np.zeros(len(mesh.face_sizes), np.int64)
    names: dict[str | None, int] = {None: 0}  # None also for faces that are in no group
    for group in mesh.groups:
        number = names.setdefault(group.material, len(names))
        material[group.first_face : group.first_face + group.face_count] = number
    material = np.repeat(material, triangles)
    runs = [(name, np.flatnonzero(material == i)) for name, i in names.items()]
    return [(name, run) for name, run in runs if len(run)]


def _split_seams(mesh: Mesh) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32] | None]:
    """Give every texture coordinate of a vertex a vertex of its own.

    Returns
    -------
    source
        (V + E,) input vertex of each output vertex: first all V in order, then the E copies.
    corners
        (N,) output vertex of each polygon corner.
    uvs
        (V + E, 2) float32 with the origin at the top left, or None.
    """
    count = len(mesh.vertices)
    corners = mesh.face_indices.astype(np.int64)
    if mesh.uvs is None or mesh.uv_indices is None:
        return np.arange(count), corners, None
    # Equal coordinates under different indices (one for each corner, as some exporters write) are no seam.
    values, same = np.unique(
        np.ascontiguousarray(mesh.uvs + np.float32(0)).view(np.uint64)[:, 0], return_inverse=True
    )
    textured = mesh.uv_indices >= 0
    keys = corners[textured] * len(values) + same[mesh.uv_indices[textured]]
    pairs, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    vertex = pairs // len(values)
    latest_first = np.argsort(first)[::-1]
    owner = np.full(count, -1, np.int64)
    owner[vertex[latest_first]] = (
        latest_first  # the pair that comes first in the file keeps the vertex itself
    )
    copied = owner[vertex] != np.arange(len(pairs))
    target = np.where(copied, count + np.cumsum(copied) - 1, vertex)
    corners[textured] = target[inverse]
    source = np.concatenate([np.arange(count), vertex[copied]])
    uvs = np.zeros((len(source), 2), np.float32)
    uvs[target] = values[pairs % len(values)].view(np.float32).reshape(-1, 2)
    uvs[:, 1] = 1 - uvs[:, 1]
    return source, corners, uvs
