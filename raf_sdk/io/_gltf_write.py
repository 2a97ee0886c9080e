"""GLB and glTF out: one mesh whose morph targets are the poses.

glTF vertex i is input vertex i; copies that carry a second texture coordinate (UV seams) come behind the V
input vertices. Source: Khronos glTF 2.0 specification, sections 3.6 (accessors, sparse accessors), 3.7.2.2
(morph targets).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import OutputError
from raf_sdk.io._atomic import replacing
from raf_sdk.io._shading import smooth_normals

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from raf_sdk._mesh import Mesh
    from raf_sdk._rig import Rig

__all__ = ["write_glb", "write_gltf"]

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_STILL: Final = 1e-6  # of the bounding-box diagonal: shorter displacements are left out
_MATTE: Final = {"metallicFactor": 0.0, "roughnessFactor": 0.7}  # without it, viewers draw polished metal


def write_glb(rig: Rig, path: Path) -> None:
    """Write one binary file.

    Parameters
    ----------
    rig
        What to write.
    path
        The ``.glb`` file.

    Raises
    ------
    OutputError
        The result would pass the 4 GiB that the container can hold.
    OSError
        The file cannot be written.
    """
    buffer = _Buffer()
    text = _json(_document(rig, buffer, None))
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
    buffer = _Buffer()
    text = _json(_document(rig, buffer, binary.name))
    with replacing(path) as file, replacing(binary) as binary_file:
        binary_file.writelines(buffer.parts)
        file.write(text)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", errors="replace")


def _uint32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


class _Buffer:
    """The binary half of the file, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        entry = {"buffer": 0, "byteOffset": self.size, "byteLength": len(data)}
        self.views.append(entry if target is None else {**entry, "target": target})
        padding = b"\0" * (-len(data) % 4)
        self.parts += [data, padding]
        self.size += len(data) + len(padding)
        return len(self.views) - 1

    def accessor(self, **entry: Any) -> int:
        self.accessors.append(entry)
        return len(self.accessors) - 1

    def vertex_data(self, values: NDArray[np.float32], *, bounds: bool = False) -> int:
        """An accessor over (n, 2 or 3) float32 with a view of its own."""
        entry = _bounds(values) if bounds else {}
        view = self.view(values.tobytes(), _VERTEX_DATA)
        kind = f"VEC{values.shape[1]}"
        return self.accessor(bufferView=view, componentType=_FLOAT, count=len(values), type=kind, **entry)


def _bounds(values: NDArray[np.float32]) -> dict[str, list[float]]:
    columns = np.ascontiguousarray(
        values.T
    )  # along the short rows of values, reductions take ten times as long
    return {"min": columns.min(axis=1).tolist(), "max": columns.max(axis=1).tolist()}


def _document(rig: Rig, buffer: _Buffer, uri: str | None) -> dict[str, Any]:
    mesh = rig.mesh
    source, corners, uvs = _split_seams(mesh)
    attributes = {"POSITION": buffer.vertex_data(mesh.vertices[source], bounds=True)}
    attributes["NORMAL"] = buffer.vertex_data(smooth_normals(mesh.vertices, mesh.faces)[source])
    if uvs is not None:
        attributes["TEXCOORD_0"] = buffer.vertex_data(uvs)
    index_type, index_code = (np.uint16, _UINT16) if len(source) < 1 << 16 else (np.uint32, _UINT32)
    targets = [
        {"POSITION": accessor} for accessor in _morph_targets(rig, source, buffer, index_type, index_code)
    ]

    triangles = corners[mesh.triangle_corners].astype(index_type)
    runs = _faces_by_material(mesh)
    view = buffer.view(np.concatenate([triangles[run] for _, run in runs]).tobytes(), _INDEX_DATA)
    primitives: list[dict[str, Any]] = []
    materials: list[dict[str, Any]] = []
    offset = 0
    for name, run in runs:
        count = 3 * len(run)
        indices = buffer.accessor(
            bufferView=view, byteOffset=offset, componentType=index_code, count=count, type="SCALAR"
        )
        offset += count * triangles.itemsize
        primitive = {"attributes": attributes, "indices": indices, "material": len(materials)}
        primitives.append({**primitive, "targets": targets} if targets else primitive)
        materials.append({**({"name": name} if name else {}), "pbrMetallicRoughness": _MATTE})
    name = mesh.source.stem if mesh.source is not None else "head"
    morphing = (
        {"weights": [0.0] * len(targets), "extras": {"targetNames": list(rig.names)}} if targets else {}
    )
    return {
        "asset": {"version": "2.0", "generator": "raf-sdk"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [{"name": name, "primitives": primitives, **morphing}],
        "materials": materials,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.size} if uri is None else {"byteLength": buffer.size, "uri": uri}],
    }


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


def _morph_targets(
    rig: Rig,
    source: NDArray[np.int64],
    buffer: _Buffer,
    index_type: type[np.uint16 | np.uint32],
    index_code: int,
) -> list[int]:
    """One accessor for each pose: sparse, or dense where that is smaller; all sparse ones share two views."""
    if not rig.names:
        return []
    extent = np.ptp(rig.vertices.astype(np.float64), axis=0)
    still = _STILL * float(np.linalg.norm(extent))
    sparse_bytes = np.dtype(index_type).itemsize + 12
    indices: list[bytes] = []
    values: list[bytes] = []
    accessors: list[int] = []
    pending: list[tuple[dict[str, Any], int, int]] = []
    index_offset = value_offset = 0
    for delta in rig.deltas:
        moving = np.sqrt(np.einsum("vx,vx->v", delta, delta, dtype=np.float64)) > still
        places = np.flatnonzero(moving[source])
        if len(places) * sparse_bytes >= 12 * len(source):
            accessors.append(buffer.vertex_data(np.where(moving[:, None], delta, 0)[source], bounds=True))
            continue
        if (
            len(places) == 0
        ):  # a sparse part may not be empty, and not every viewer takes an accessor without data
            places, moved = np.zeros(1, np.int64), np.zeros((1, 3), np.float32)
        else:
            moved = delta[source[places]]
        bounds = _bounds(np.pad(moved, ((0, 1), (0, 0))))  # the vertices that stay are zero
        sparse: dict[str, Any] = {"count": len(places)}
        pending.append((sparse, index_offset, value_offset))
        indices.append(places.astype(index_type).tobytes())
        values.append(moved.tobytes())
        index_offset += len(indices[-1])
        value_offset += len(values[-1])
        entry = {**bounds, "sparse": sparse}
        accessors.append(buffer.accessor(componentType=_FLOAT, count=len(source), type="VEC3", **entry))
    if pending:
        index_view, value_view = buffer.view(b"".join(indices)), buffer.view(b"".join(values))
        for sparse, index_offset, value_offset in pending:
            sparse["indices"] = {
                "bufferView": index_view,
                "byteOffset": index_offset,
                "componentType": index_code,
            }
            sparse["values"] = {"bufferView": value_view, "byteOffset": value_offset}
    return accessors
