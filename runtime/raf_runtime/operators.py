"""What the network needs to know of a surface: mass, normals, eigenpairs and their tangent gradients.

Axis legend: S surface vertices, T triangles, K eigenpairs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from raf_runtime.intrinsic import laplacian_and_mass
from raf_runtime.spectral import spectral_basis
from raf_runtime.surface import cross, face_area_vectors

__all__ = ["Operators", "Spectrum", "TangentGradient", "tangent_gradient", "tangents", "vertex_normals"]


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
        """Compute the operators of a welded surface (see :class:`raf_runtime.surface.Surface`).

        Parameters
        ----------
        vertices : (S, 3) float64
        faces : (T, 3) int64
        component : (S,) int64
        eigenpairs : int
            K.
        """
        # Neither needs the other, and NumPy lets go of the interpreter in large operations.
        with ThreadPoolExecutor(1) as pool:
            spectrum = pool.submit(Spectrum.build, vertices, faces, component, eigenpairs)
            gradient = TangentGradient.build(vertices, faces)
            return cls.join(vertices, gradient, spectrum.result())

    @classmethod
    def join(cls, vertices: NDArray[np.float64], gradient: TangentGradient, spectrum: Spectrum) -> Operators:
        """Put together what was computed of the same vertices (S, 3), in the same unit."""
        basis = spectrum.vectors
        along_x, along_y = (along.astype(np.float32) for along in (gradient.along_x, gradient.along_y))
        with ThreadPoolExecutor(1) as pool:
            gradient_x = pool.submit(along_x.__matmul__, basis)
            gradient_y = along_y @ basis
            return cls(
                vertices.astype(np.float32),
                gradient.normals.astype(np.float32),
                spectrum.mass.astype(np.float32),
                spectrum.values.astype(np.float32),
                basis,
                gradient_x.result(),
                gradient_y,
            )

    def as_inputs(self) -> dict[str, NDArray[np.float32]]:
        """The arrays under the tensor names of :mod:`raf_runtime.contract`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What does not depend on where a surface is and how it is turned.

    Attributes
    ----------
    mass : (S,) float64
        Vertex areas.
    values : (K,) float64
        Eigenvalues, ascending.
    vectors : (S, K) float32
        Mass-orthonormal eigenvectors.
    """

    mass: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float32]

    @classmethod
    def build(
        cls,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int64],
        component: NDArray[np.int64],
        eigenpairs: int,
    ) -> Spectrum:
        """Find K eigenpairs of the Laplacian of a welded surface, see :func:`raf_runtime.spectral.spectral_basis`."""
        laplacian, mass = laplacian_and_mass(vertices, faces)
        normals = vertex_normals(vertices, faces)
        return cls(mass, *spectral_basis(vertices, normals, laplacian, mass, component, eigenpairs))

    def measured_in(self, unit: float) -> Spectrum:
        """The same of the surface measured in another unit, which is so long in the one of now."""
        return Spectrum(self.mass / unit**2, self.values * unit**2, self.vectors * np.float32(unit))


@dataclass(frozen=True, slots=True)
class TangentGradient:
    """Unit normals (S, 3) float64, and what :func:`tangent_gradient` makes of them."""

    normals: NDArray[np.float64]
    along_x: sparse.csr_array
    along_y: sparse.csr_array

    @classmethod
    def build(cls, vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> TangentGradient:
        """Find normals and gradient of vertices (S, 3) and triangles (T, 3)."""
        normals = vertex_normals(vertices, faces)
        return cls(normals, *tangent_gradient(vertices, faces, normals))


def vertex_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area-weighted unit normals (S, 3); +Z where the triangles around a vertex cancel."""
    area = np.repeat(face_area_vectors(vertices, faces).T, 3, axis=1)
    total = np.stack([np.bincount(faces.ravel(), along, len(vertices)) for along in area], axis=1)
    length = np.sqrt(np.einsum("sc,sc->s", total, total))[:, None]
    flat = length[:, 0] <= 1e-12 * max(float(length.max()), np.finfo(float).tiny)
    total[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return total / length


def tangents(normals: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit tangents (S, 3) to the right and upwards; at the poles of +Y, where up is no tangent, +Z stands in."""
    x, y, z = normals.T
    zero = np.zeros_like(x)
    right = np.where(np.abs(y) > 0.999, [-y, x, zero], [z, zero, -x])
    right /= np.sqrt(np.einsum("is,is->s", right, right))
    return right.T, cross(normals.T, right).T


def tangent_gradient(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], normals: NDArray[np.float64]
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Sparse maps (S, S) from a scalar at vertices to its gradient along the two tangents of each vertex.

    The gradient at a vertex is the area-weighted mean over its triangles of the gradient of linear interpolation
    (Botsch et al., "Polygon Mesh Processing", 2010, section 3.3), projected on the tangents.
    """
    area_vector = face_area_vectors(vertices, faces).T
    twice_area = np.sqrt(np.einsum("it,it->t", area_vector, area_vector))
    unit = area_vector / np.maximum(twice_area, np.finfo(float).tiny)
    around = np.bincount(faces.ravel(), np.repeat(twice_area / 2, 3), len(vertices))
    around = np.maximum(around, np.finfo(float).tiny)
    # Area times the gradient of the hat function at each corner; the area cancels, so slivers do no harm.
    corner = vertices.T.take(faces.T, axis=1)
    hat = 0.5 * cross(unit[:, None], corner[:, [2, 0, 1]] - corner[:, [1, 2, 0]])
    # Both maps at once, as real and imaginary part of one: where its entries go is what takes the time.
    value = np.empty((3, 3, len(faces)), dtype=np.complex128)
    for part, axis in zip((value.real, value.imag), tangents(normals), strict=True):
        np.einsum("iat,ibt->abt", (axis / around[:, None]).T.take(faces.T, axis=1), hat, out=part)
    place = faces.T.astype(np.int32)
    rows, columns = (np.broadcast_to(index, value.shape).ravel() for index in (place[:, None], place[None]))
    both = sparse.coo_array((value.ravel(), (rows, columns)), shape=(len(vertices), len(vertices))).tocsr()
    return sparse.csr_array(both.real), sparse.csr_array(both.imag)
