"""Non-rigid ICP: one head bent onto another, whatever the topologies.

After Amberg, Romdhani and Vetter, "Optimal Step Nonrigid ICP Algorithms for Surface Registration" (2007): closest
points and a solve by turns, while the stiffness falls. Stiffness here is the bending of the displacements
(thin plates; Laplacian squared), which leaves affine changes of proportion free as their local affine maps do and
needs one unknown per vertex and axis instead of four. trimesh's own ``nricp_amberg`` needs rtree to find points on a
surface; without it, partners are vertices and normals have no sign, which joins upper and lower lip.

Axis legend: V vertices of the surface that is bent, T triangles, N samples of the other surface, L landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from raf_runtime.intrinsic import laplacian_and_mass
from raf_runtime.operators import vertex_normals
from raf_runtime.surface import face_area_vectors
from raf_training.data.transfer import solver

__all__ = ["Samples", "oriented", "register"]

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

_subdivide: Any = trimesh.remesh.subdivide_to_size

# Lengths are in canonical units, of about 4 cm.
SPACING = 0.12
# Distance in space that counts as much as normals a radian apart: lips and lids lie on each other.
NORMALS = 0.25
# Falling stiffness, and how far a partner may be at each.
SCHEDULE = tuple(zip(np.geomspace(3.0, 1e-3, 12).tolist(), np.linspace(1.0, 0.3, 12).tolist(), strict=True))
ROUNDS = 2
LANDMARK = 30.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Small triangles that cover a surface: centres and unit normals (N, 3), and whose part each is (N,)."""

    points: Doubles
    normals: Doubles
    face: Ints

    @classmethod
    def of(cls, vertices: Doubles, faces: Ints, spacing: float = SPACING) -> Samples:
        """Split the triangles until no edge is longer than ``spacing``."""
        fine, split, face = _subdivide(vertices, faces, max_edge=spacing, max_iter=20, return_index=True)
        area = face_area_vectors(fine, split)
        length = np.linalg.norm(area, axis=1)
        proper = length > 1e-12
        middle = fine[split].mean(axis=1)
        return cls(middle[proper], area[proper] / length[proper, None], np.asarray(face, np.int64)[proper])


def oriented(points: Doubles, normals: Doubles) -> Doubles:
    """Points (N, 6) whose nearest neighbours are near in space and face the same way."""
    return np.concatenate([points, NORMALS * normals], axis=1)


def register(vertices: Doubles, faces: Ints, target: Samples, landmarks: Ints, places: Doubles) -> Doubles:
    """Bend a surface onto another.

    Parameters
    ----------
    vertices : (V, 3) float64
        Canonical; roughly aligned already.
    faces : (T, 3) int64
        Triangles, wound outwards.
    target : Samples
        Of the other surface, in the same frame.
    landmarks, places : (L,) int64, (L, 3) float64
        Vertices, and where they belong.

    Returns
    -------
    (V, 3) float64
        The bent surface.
    """
    laplacian, mass = laplacian_and_mass(vertices, faces)
    bending = laplacian @ sparse.diags_array(1 / mass) @ laplacian
    pinned = np.zeros(len(vertices))
    np.add.at(pinned, landmarks, LANDMARK * mass.mean())
    goal = np.zeros_like(vertices)
    goal[landmarks] = places
    tree = KDTree(oriented(target.points, target.normals))
    current = vertices
    for stiffness, reach in SCHEDULE:
        for _ in range(ROUNDS):
            normals = vertex_normals(current, faces)
            _, partner = tree.query(oriented(current, normals))
            beside, normal = current - target.points[partner], target.normals[partner]
            # The foot on the partner's plane: samples are not dense enough to be the partners themselves.
            foot = current - np.einsum("vc,vc->v", beside, normal)[:, None] * normal
            apart = np.linalg.norm(beside, axis=1)
            trusted = (apart < reach) & (np.einsum("vc,vc->v", normals, normal) > 0.5)
            weight = mass * trusted
            system = sparse.csc_array(stiffness * bending + sparse.diags_array(weight + pinned + 1e-9))
            wanted = weight[:, None] * (foot - vertices) + pinned[:, None] * (goal - vertices)
            current = vertices + solver(system)(wanted)
    return current
