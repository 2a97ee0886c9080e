"""From a mesh to the network's inputs, and from its output back to the mesh.

Axis legend: V input vertices, S surface vertices, T triangles, P poses, K eigenpairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raf_runtime.coarse import Coarse
from raf_runtime.face import outside_the_face, skin_of
from raf_runtime.frame import HEAD_CENTRE, Frame, estimate_frame
from raf_runtime.operators import Operators, Spectrum, TangentGradient, vertex_normals
from raf_runtime.parts import Parts
from raf_runtime.surface import Surface, face_area_vectors, face_areas
from raf_runtime.symmetry import Mirror
from raf_runtime.threads import blas_on_one_thread

__all__ = ["PreparedHead", "find_pieces", "head_on_body", "in_own_unit", "outwards", "prepare_head"]

# Above this many vertices a coarser surface stands in: more detail than the basis resolves only costs time.
LARGE = 80_000
# What lies further than this from here, canonical, is body, where it is more than this share of the surface: the basis
# would be spent on it. Busts that the network has learned from have up to 0.12 there.
NECK, REACH, BODY = (0.0, 0.0, -1.0), 4.5, 0.2
# A smaller share of the surface than this is hardly ever skin where the network has learned from, on 1 in 100 heads: of
# hundreds of strands of hair little of the basis would be left for the face.
CROWDED = 0.25


@dataclass(frozen=True, slots=True)
class PreparedHead:
    """Everything that rigging a head needs and that does not depend on the model's weights.

    Attributes
    ----------
    surface : Surface
        Welded surface, in the input's frame.
    frame : Frame
        From the input's frame to the canonical one.
    operators : Operators
        Inputs of the network, canonical; of ``coarse`` where there is one.
    coarse : Coarse or None
        The stand-in of a large surface.
    parts : Parts
        Eyeballs, teeth and the like, among the vertices of ``surface``.
    mirror : Mirror or None
        The symmetry of ``surface``, where it has one; not looked for behind a stand-in.
    """

    surface: Surface
    frame: Frame
    operators: Operators
    coarse: Coarse | None
    parts: Parts
    mirror: Mirror | None

    @blas_on_one_thread()
    def finish(self, displacements: NDArray[np.float32], poses: Sequence[str]) -> NDArray[np.float32]:
        """Carry the network's output to the input mesh.

        Parameters
        ----------
        displacements : (P, S, 3) float32
            In canonical units, of the vertices of ``operators``.
        poses : sequence of str
            Names of the P poses.

        Returns
        -------
        (P, V, 3) float32
            In the unit and frame of the input; zero for vertices that no triangle uses.
        """
        moved = displacements.copy() if self.coarse is None else self.coarse.to_fine(displacements)
        # Before the two sides are averaged: the network may know the turn of one eye only.
        self.parts.turn_eyes(moved, poses)
        self.parts.slide_lids(moved, poses)
        self.parts.seal_lips(moved, poses)
        if self.mirror is not None:
            self.mirror.average(moved, poses)
        self.parts.settle(moved, poses)
        to_input = (self.frame.rotation * self.frame.unit).astype(np.float32)
        for pose in moved:
            pose[:] = pose @ to_input
        return self.surface.to_input(moved)


@blas_on_one_thread()
def prepare_head(
    vertices: ArrayLike, faces: ArrayLike, eigenpairs: int, frame: Frame | None = None
) -> PreparedHead:
    """Weld, find the canonical frame and compute the operators; of a whole character, for its head alone.

    Parameters
    ----------
    vertices : (V, 3) float
        Neutral head, any unit and frame, with or without a body.
    faces : (T, 3) int
        Triangles.
    eigenpairs : int
        K that the model wants.
    frame : Frame, optional
        The canonical frame, where it is known.

    Raises
    ------
    MeshError
        If the arrays are not a surface (see :meth:`Surface.build`).
    """
    surface = Surface.build(vertices, faces)
    with ThreadPoolExecutor(1) as pool:
        large = len(surface.vertices) > LARGE
        # The spectrum need not know the frame. Most of either is where Python lets other threads run.
        known = None if large else pool.submit(_spectrum, surface, eigenpairs)
        if frame is None:
            frame = estimate_frame(surface.vertices, surface.faces, component=surface.component)
            if (head := head_on_body(surface, frame, np.asarray(faces))) is not None:
                return prepare_head(vertices, head, eigenpairs, frame)
        points = frame.to_canonical(surface.vertices)
        triangles = outwards(points, surface.faces)
        if large:
            pieces = pool.submit(find_pieces, surface, frame)
            coarse = Coarse.build(points, triangles, surface.component, LARGE // 2)
            operators = Operators.build(coarse.vertices, coarse.faces, coarse.component, eigenpairs)
            return PreparedHead(surface, frame, operators, coarse, *pieces.result())
        assert known is not None
        gradient = TangentGradient.build(points, triangles)
        parts, mirror = find_pieces(surface, frame)
        spectrum, unit = known.result()
    operators = Operators.join(points, gradient, spectrum.measured_in(frame.unit / unit))
    return PreparedHead(surface, frame, operators, None, parts, mirror)


def head_on_body(surface: Surface, frame: Frame, faces: NDArray[np.integer]) -> NDArray[np.integer] | None:
    """Those of the input's triangles (T, 3) that are the head of a character; None where there is little else.

    A body goes, and, where hair and clothes around the face crowd it out, they go as well.
    """
    points, component = frame.to_canonical(surface.vertices), surface.component
    areas = face_areas(points, surface.faces)

    def area(kept: NDArray[np.bool_]) -> float:
        return float(areas[kept[surface.faces].all(axis=1)].sum())

    kept = np.linalg.norm(points - NECK, axis=1) < REACH
    if area(kept) >= (1 - BODY) * areas.sum():
        kept[:] = True
    skin = component == skin_of(points, surface.faces, component)
    if area(kept & skin) < CROWDED * area(kept):
        outside = outside_the_face(points)[surface.faces].any(axis=1)
        part = component[surface.faces[:, 0]]
        kept &= skin | (np.bincount(part, areas * outside) <= np.bincount(part, areas) / 2)[component]
    if kept.all() or not area(kept) > 0:
        return None
    return faces[kept[surface.from_input[faces]].all(axis=1)]


def _spectrum(surface: Surface, eigenpairs: int) -> tuple[Spectrum, float]:
    points, unit = in_own_unit(surface.vertices)
    return Spectrum.build(points, surface.faces, surface.component, eigenpairs), unit


def in_own_unit(vertices: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Vertices (S, 3) about their mean in a unit of about their extent, and that unit: no number overflows."""
    centred = vertices - vertices.mean(axis=0)
    unit = float(np.abs(centred).max())
    return centred / unit, unit


def find_pieces(surface: Surface, frame: Frame) -> tuple[Parts, Mirror | None]:
    """The parts and the symmetry of a head whose frame is known; of a large one, no symmetry is looked for."""
    points = frame.to_canonical(surface.vertices)
    parts = Parts.find(points, surface.faces, surface.component)
    if len(points) > LARGE:
        return parts, None
    normals = vertex_normals(points, surface.faces)
    return parts, Mirror.find(points, normals, surface.component, parts.skin)


def outwards(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reverse all triangles (T, 3) if most of their area faces the middle of the canonical head."""
    outward = points.take(faces.T, axis=0).sum(axis=0) / 3 - HEAD_CENTRE
    inwards = np.einsum("ij,ij->", face_area_vectors(points, faces), outward) < 0
    return np.ascontiguousarray(faces[:, ::-1]) if inwards else faces
