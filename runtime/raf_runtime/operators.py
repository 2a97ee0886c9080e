"""What the network needs to know of a surface: mass, normals, eigenpairs and their tangent gradients.

Axis legend: S surface vertices, T triangles, K eigenpairs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import robust_laplacian
from numpy.typing import NDArray
from scipy import sparse

from raf_runtime.spectral import spectral_basis
from raf_runtime.surface import face_area_vectors

__all__ = ["Operators", "laplacian_and_mass", "tangent_gradient", "vertex_normals"]


@dataclass(frozen=True, slots=True)
class Operators:
    """The inputs of the network, float32, in the units and frame of the vertices they were computed from.

    Attributes
    ----------
    positions : (S, 3) float32
    normals : (S, 3) float32
        Unit length.
    mass : (S,) float32
        Vertex areas; their sum is the area of the surface.
    eigenvalues : (K,) float32
        Ascending, inverse area.
    eigenvectors : (S, K) float32
        Mass-orthonormal.
    gradient_x, gradient_y : (S, K) float32
        Gradients of the eigenvectors along the two tangents of each vertex: ``gradient_y`` as near to +Y as the
        surface allows, ``gradient_x`` to its right as seen from outside.
    """

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    mass: NDArray[np.float32]
    eigenvalues: NDArray[np.float32]
    eigenvectors: NDArray[np.float32]
    gradient_x: NDArray[np.float32]
    gradient_y: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int64],
        component: NDArray[np.int64],
        eigenpairs: int,
    ) -> Operators:
        """Compute the operators of a welded surface (see :class:`raf_runtime.surface.Surface`)."""
        normals = vertex_normals(vertices, faces)
        # Neither needs the other, and NumPy lets go of the interpreter in large operations.
        with ThreadPoolExecutor(1) as pool:
            gradient = pool.submit(tangent_gradient, vertices, faces, normals)
            laplacian, mass = laplacian_and_mass(vertices, faces)
            values, vectors = spectral_basis(vertices, laplacian, mass, component, eigenpairs)
            basis = vectors.astype(np.float32)
            along_x, along_y = (along.astype(np.float32) for along in gradient.result())
            gradient_x = pool.submit(along_x.__matmul__, basis)
            gradient_y, gradient_x = along_y @ basis, gradient_x.result()
        return cls(
            vertices.astype(np.float32),
            normals.astype(np.float32),
            mass.astype(np.float32),
            values.astype(np.float32),
            basis,
            gradient_x,
            gradient_y,
        )

    def as_inputs(self) -> dict[str, NDArray[np.float32]]:
        """The arrays under the tensor names of :mod:`raf_runtime.contract`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def laplacian_and_mass(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[sparse.csr_array, NDArray[np.float64]]:
    """Positive semidefinite Laplacian (S, S) and vertex areas (S,) of a possibly non-manifold surface.

    Sharp and Crane, "A Laplacian for Nonmanifold Triangle Meshes" (2020), as implemented by robust-laplacian.
    """
    laplacian, mass = robust_laplacian.mesh_laplacian(vertices, faces)
    areas = mass.diagonal()
    # A vertex whose triangles have all collapsed weighs nothing; the eigenproblem needs it positive.
    return sparse.csr_array(laplacian), np.maximum(areas, 1e-9 * areas.mean())


def vertex_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area-weighted unit normals (S, 3); +Z where the triangles around a vertex cancel."""
    area = face_area_vectors(vertices, faces)
    corner_to_vertex = sparse.csr_array(
        (np.ones(faces.size), (faces.ravel(), np.repeat(np.arange(len(faces)), 3))),
        shape=(len(vertices), len(faces)),
    )
    total = corner_to_vertex @ area
    length = np.linalg.norm(total, axis=1, keepdims=True)
    flat = length[:, 0] <= 1e-12 * max(float(length.max()), np.finfo(float).tiny)
    total[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return total / length


def tangents(normals: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit tangents (S, 3) to the right and upwards; at the poles of +Y, where up is no tangent, +Z stands in."""
    up = np.where(np.abs(normals[:, 1:2]) > 0.999, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
    right = np.cross(up, normals)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return right, np.asarray(np.cross(normals, right), dtype=np.float64)


def tangent_gradient(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], normals: NDArray[np.float64]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Sparse maps (S, S) from a scalar at vertices to its gradient along the two tangents of each vertex.

    The gradient at a vertex is the area-weighted mean over its triangles of the gradient of linear interpolation
    (Botsch et al., "Polygon Mesh Processing", 2010, section 3.3), projected on the tangents.
    """
    size = len(vertices)
    area_vector = face_area_vectors(vertices, faces)
    twice_area = np.linalg.norm(area_vector, axis=1)
    unit = area_vector / np.maximum(twice_area, np.finfo(float).tiny)[:, None]
    around = np.bincount(faces.ravel(), weights=np.repeat(twice_area / 2, 3), minlength=size)
    around = np.maximum(around, np.finfo(float).tiny)
    axes = tangents(normals)
    rows, columns = np.repeat(faces, 3, axis=1).ravel(), np.tile(faces, (1, 3)).ravel()
    # Area times the gradient of the hat function at corner b; the area cancels, so slivers do no harm.
    hat = np.stack(
        [
            0.5 * np.cross(unit, vertices[faces[:, (b + 2) % 3]] - vertices[faces[:, (b + 1) % 3]])
            for b in range(3)
        ],
        axis=1,
    )
    maps = []
    for axis in axes:
        value = np.einsum("tac,tbc->tab", axis[faces] / around[faces][..., None], hat).ravel()
        maps.append(sparse.csr_array(sparse.coo_array((value, (rows, columns)), shape=(size, size))))
    return maps[0], maps[1]
