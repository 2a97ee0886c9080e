"""The neutral mesh as it was read: nothing merged, nothing reordered, polygons kept.

Axis legend: V vertices, F polygons, N polygon corners (the sum of the face sizes), U texture coordinates,
T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raf_runtime.errors import MeshError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Group", "Mesh", "split_polygons"]


@dataclass(frozen=True, slots=True)
class Group:
    """A contiguous run of faces under one name and material, as the file had it.

    Attributes
    ----------
    name
        Object, group or node name; may be empty.
    material
        Material name, or None where the file assigns none.
    first_face, face_count
        The run ``[first_face, first_face + face_count)`` of polygons.
    """

    name: str
    material: str | None
    first_face: int
    face_count: int


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A polygon mesh; vertex i is vertex i of the file it came from.

    The arrays are checked once, on construction, and read-only from then on.

    Attributes
    ----------
    vertices
        (V, 3) float32, input unit and frame.
    face_indices
        (N,) int32, corner -> vertex, the polygons one after the other.
    face_sizes
        (F,) int32, corners per polygon, each 3 or more.
    uvs
        (U, 2) float32 with the origin at the bottom left (as OBJ has it), or None. They do not shape the rig,
        so coordinates that are not finite become 0 instead of an error.
    uv_indices
        (N,) int32, corner -> texture coordinate, -1 for a corner without one; None where ``uvs`` is None.
    groups
        Runs of faces in file order; empty where the file has no groups.
    source
        The file that was read, or None for a mesh from memory. Results are never written over it.

    Raises
    ------
    MeshError
        No vertices, no faces, a polygon of fewer than 3 corners, a coordinate that is not finite, an index
        out of range, or arrays that do not fit each other.
    """

    vertices: NDArray[np.float32]
    face_indices: NDArray[np.int32]
    face_sizes: NDArray[np.int32]
    uvs: NDArray[np.float32] | None = None
    uv_indices: NDArray[np.int32] | None = None
    groups: tuple[Group, ...] = ()
    source: Path | None = None
    _corners: NDArray[np.int32] = field(init=False, repr=False)
    _faces: NDArray[np.int32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the arrays, make them read-only and split the polygons once."""
        vertices = _finite_vertices(self.vertices)
        sizes = _integers(self.face_sizes, "face_sizes", 1)
        indices = _integers(self.face_indices, "face_indices", 1)
        if len(sizes) == 0:
            raise MeshError(
                f"the mesh has {len(vertices)} vertices but no faces (a point cloud); "
                "reconstruct a surface first, then rig it"
            )
        if sizes.min() < 3:
            face = int(np.argmax(sizes < 3))
            raise MeshError(f"face {face} has {sizes[face]} corners; a face needs 3 or more")
        if int(sizes.sum()) != len(indices):
            raise MeshError(
                f"face_sizes sum to {int(sizes.sum())}, but there are {len(indices)} face_indices"
            )
        _check_range(indices, sizes, len(vertices), "vertex", 0)
        if (self.uvs is None) != (self.uv_indices is None):
            raise MeshError("uvs and uv_indices go together: give both or neither")
        if self.uvs is not None:
            self._check_uvs(sizes)
        for group in self.groups:
            if (
                group.first_face < 0
                or group.face_count < 0
                or group.first_face + group.face_count > len(sizes)
            ):
                raise MeshError(f"group {group.name!r} reaches beyond the {len(sizes)} faces of the mesh")
        indices, sizes = indices.astype(np.int32, copy=False), sizes.astype(np.int32, copy=False)
        corners = split_polygons(vertices, indices, sizes)
        self._set("vertices", vertices)
        self._set("face_indices", indices)
        self._set("face_sizes", sizes)
        self._set("_corners", corners)
        self._set("_faces", indices[corners])

    def _check_uvs(self, sizes: NDArray[np.integer[Any]]) -> None:
        with np.errstate(over="ignore"):
            uvs = np.asarray(self.uvs, dtype=np.float32)
        if uvs.ndim != 2 or uvs.shape[1] != 2:
            raise MeshError(f"uvs have shape {uvs.shape}; expected (U, 2)")
        if not np.isfinite(uvs).all():
            uvs = np.nan_to_num(uvs, nan=0.0, posinf=0.0, neginf=0.0)
        uv_indices = _integers(self.uv_indices, "uv_indices", 1)
        if len(uv_indices) != int(sizes.sum()):
            raise MeshError(f"there are {len(uv_indices)} uv_indices for {int(sizes.sum())} face corners")
        _check_range(uv_indices, sizes, len(uvs), "texture coordinate", -1)
        self._set("uvs", uvs)
        self._set("uv_indices", uv_indices.astype(np.int32, copy=False))

    def _set(self, name: str, value: NDArray[Any]) -> None:
        view = value.view()  # a view, so that the caller's own array stays writeable
        view.flags.writeable = False
        object.__setattr__(self, name, view)

    @classmethod
    def from_triangles(cls, vertices: ArrayLike, faces: ArrayLike) -> Mesh:
        """Make a mesh from copies of two arrays.

        Parameters
        ----------
        vertices
            (V, 3) numbers, any unit and frame.
        faces
            (F, 3) integers; or (F, 4), with -1 in the last column of a triangle.

        Returns
        -------
        Mesh
            The same vertices in the same order.

        Raises
        ------
        MeshError
            As the constructor, or an array of another shape or type.
        """
        table = _integers(faces, "faces", 2)
        if table.size == 0:
            return cls(_copy(vertices), np.empty(0, np.int32), np.empty(0, np.int32))
        if table.shape[1] not in (3, 4):
            raise MeshError(f"faces have shape {table.shape}; expected (F, 3), or (F, 4) for quads")
        sizes = np.full(len(table), table.shape[1], np.int32)
        if table.shape[1] == 4:
            sizes -= table[:, 3] == -1
        kept = np.arange(table.shape[1]) < sizes[:, None]
        return cls(_copy(vertices), table[kept], sizes)

    @property
    def faces(self) -> NDArray[np.int32]:
        """(T, 3) int32 triangles in polygon order; quads are split along their shorter diagonal."""
        return self._faces

    @property
    def triangle_corners(self) -> NDArray[np.int32]:
        """(T, 3) int32 indices of triangle corners into ``face_indices`` and ``uv_indices``."""
        return self._corners


def split_polygons(
    vertices: NDArray[np.float32], indices: NDArray[np.int32], sizes: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Split polygons into triangles, deterministically and without new vertices.

    Quads are split along the shorter diagonal (the one from the first corner when they are equal), larger
    polygons into a fan around their first corner.

    Parameters
    ----------
    vertices
        (V, 3) float32.
    indices
        (N,) int32, corner -> vertex.
    sizes
        (F,) int32, each 3 or more.

    Returns
    -------
    ndarray
        (T, 3) int32 corners (indices into ``indices``), T the sum of ``sizes - 2``, in polygon order.
    """
    if sizes.max() == 3:
        return np.arange(len(indices), dtype=np.int32).reshape(-1, 3)
    starts = np.cumsum(sizes, dtype=np.int32) - sizes
    counts = sizes - 2
    first = np.cumsum(counts, dtype=np.int32) - counts  # the first triangle of each polygon
    start = np.repeat(starts, counts)
    step = np.arange(len(start), dtype=np.int32) - np.repeat(first, counts)
    corners = np.stack([start, start + step + 1, start + step + 2], axis=1)

    quads = np.flatnonzero(sizes == 4)
    corner = vertices[indices[starts[quads, None] + np.arange(4)]].astype(np.float64)
    diagonal = corner[:, :2] - corner[:, 2:]  # corner 0 to 2, corner 1 to 3
    length = np.einsum("qdx,qdx->qd", diagonal, diagonal)
    turned = quads[length[:, 1] < length[:, 0]]
    corners[first[turned], 2] = starts[turned] + 3
    corners[first[turned] + 1, 0] = starts[turned] + 1
    return corners


def _copy(vertices: ArrayLike) -> NDArray[Any]:
    try:
        return np.array(vertices)
    except ValueError as error:
        raise MeshError(
            f"vertices are not a rectangular array of numbers, expected (V, 3): {error}"
        ) from error


def _finite_vertices(values: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise MeshError(f"vertices have dtype {array.dtype}; expected numbers, (V, 3)")
    if array.size == 0:
        raise MeshError("the mesh has no vertices")
    if array.ndim != 2 or array.shape[1] != 3:
        raise MeshError(f"vertices have shape {array.shape}; expected (V, 3)")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
        vertices = np.ascontiguousarray(array, dtype=np.float32)
    finite = np.isfinite(vertices).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise MeshError(
            f"vertex {bad} is ({', '.join(str(x) for x in array[bad])}); {int((~finite).sum())} of "
            f"{len(vertices)} vertices are not finite float32 numbers: remove or repair them"
        )
    return vertices


def _integers(values: ArrayLike | None, name: str, axes: int) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise MeshError(f"{name} are not a rectangular array of integers: {error}") from error
    if array.size and array.dtype.kind not in "iu":
        raise MeshError(f"{name} have dtype {array.dtype}; expected integers")
    if array.size and array.ndim != axes:
        raise MeshError(f"{name} have {array.ndim} axes; expected {axes}")
    return np.ascontiguousarray(array) if array.size else np.empty((0,) * axes, np.int32)


def _check_range(
    indices: NDArray[np.integer[Any]], sizes: NDArray[np.integer[Any]], count: int, what: str, lowest: int
) -> None:
    if len(indices) == 0 or (indices.min() >= lowest and indices.max() < count):
        return
    corner = int(np.argmax((indices < lowest) | (indices >= count)))
    face = int(np.searchsorted(np.cumsum(sizes), corner, side="right"))
    plural = {"vertex": "vertices"}.get(what, what + "s")
    raise MeshError(
        f"face {face} references {what} {indices[corner]}; the mesh has {count} {plural} (indices start at 0)"
    )
