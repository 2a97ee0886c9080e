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
from raf_runtime.face import around_the_face
from raf_runtime.frame import HEAD_CENTRE, Frame, estimate_frame
from raf_runtime.operators import Operators, Spectrum, TangentGradient, vertex_normals
from raf_runtime.parts import Parts
from raf_runtime.surface import Surface, all_corners, face_area_vectors
from raf_runtime.symmetry import Mirror
from raf_runtime.threads import blas_on_one_thread, two_at_a_time

__all__ = [
    "PreparedHead",
    "bare_head",
    "find_pieces",
    "head_on_body",
    "in_own_unit",
    "outwards",
    "prepare_head",
]

# Above this many vertices a coarser surface stands in: more detail than the basis resolves only costs time.
LARGE = 80_000
# What lies further than this from here, canonical, is body, where it is more than this share of the surface: the basis
# would be spent on it. Busts that the network has learned from have up to 0.12 there.
NECK, REACH, BODY = (0.0, 0.0, -1.0), 4.5, 0.2
# Hats and hair are left out as well, where they are more than this share of the head: of hundreds of strands little of
# the basis would be left for the face.
WORN = 0.05
# Where the largest part is more than this share of the surface, nothing of that is expected.
ONE_PIECE = 0.75


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
            In canonical units, of the vertices of ``operators``; not the same afterwards.
        poses : sequence of str
            Names of the P poses.

        Returns
        -------
        (P, V, 3) float32
            In the unit and frame of the input; zero for vertices that no triangle uses.
        """
        moved = displacements if self.coarse is None else self.coarse.to_fine(displacements)
        # Before the two sides are averaged: the network may know the turn of one eye only.
        self.parts.turn_eyes(moved, poses)
        self.parts.slide_lids(moved, poses)
        self.parts.seal_lips(moved, poses)
        if self.mirror is not None:
            self.mirror.average(moved, poses)
        self.parts.settle(moved, poses)
        to_input = (self.frame.rotation * self.frame.unit).astype(np.float32)

        def turn(pose: NDArray[np.float32]) -> None:
            pose[:] = pose @ to_input

        two_at_a_time(turn, list(moved))
        return self.surface.to_input(moved)


@blas_on_one_thread()
def prepare_head(
    vertices: ArrayLike, faces: ArrayLike, eigenpairs: int, frame: Frame | None = None
) -> PreparedHead:
    """Weld, find the canonical frame and compute the operators; of a whole character, for its bare head alone.

    Parameters
    ----------
    vertices : (V, 3) float
        Neutral head, any unit and frame, with or without a body, hat or hair.
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
    large = len(surface.vertices) > LARGE
    with ThreadPoolExecutor(1) as pool:
        # The spectrum need not know the frame, where all is head. Most of either lets other threads run.
        early = not large and (frame is not None or _is_one_piece(surface))
        known = pool.submit(_spectrum, surface, eigenpairs) if early else None
        if frame is None:
            frame = estimate_frame(surface.vertices, surface.faces, component=surface.component)
            if (head := bare_head(surface, frame, np.asarray(faces))) is not None:
                return prepare_head(vertices, head, eigenpairs, frame)
        points = frame.to_canonical(surface.vertices)
        triangles = outwards(points, surface.faces)
        if large:
            pieces = pool.submit(find_pieces, surface, frame)
            coarse = Coarse.build(points, triangles, surface.component, LARGE // 2)
            operators = Operators.build(coarse.vertices, coarse.faces, coarse.component, eigenpairs)
            return PreparedHead(surface, frame, operators, coarse, *pieces.result())
        known = known or pool.submit(_spectrum, surface, eigenpairs)
        gradient = TangentGradient.build(points, triangles)
        parts, mirror = find_pieces(surface, frame, gradient.normals)
        spectrum, unit = known.result()
    operators = Operators.join(points, gradient, spectrum.measured_in(frame.unit / unit))
    return PreparedHead(surface, frame, operators, None, parts, mirror)


def head_on_body(surface: Surface, frame: Frame, faces: NDArray[np.integer]) -> NDArray[np.integer] | None:
    """Those of the input's triangles (T, 3) that are the head of a body; None where there is little else."""
    return _those_between(surface, _head(surface, frame), faces)


def bare_head(surface: Surface, frame: Frame, faces: NDArray[np.integer]) -> NDArray[np.integer] | None:
    """Those of the input's triangles (T, 3) that are a head without body, hat and hair; None if that is all of it."""
    head, points = _head(surface, frame), frame.to_canonical(surface.vertices)
    around = around_the_face(points, surface.faces, surface.component, surface.areas)
    bare = head & ~around[surface.component]
    left, whole = (surface.areas[all_corners(which, surface.faces)].sum() for which in (bare, head))
    worn = 1 - left / whole
    return _those_between(surface, bare if WORN < worn < 1 else head, faces)


def _head(surface: Surface, frame: Frame) -> NDArray[np.bool_]:
    """Which vertices (S,) are head; all, where there is little else."""
    points = frame.to_canonical(surface.vertices)
    offset = points - NECK
    near = np.einsum("sc,sc->s", offset, offset) < REACH**2
    inside = surface.areas[all_corners(near, surface.faces)].sum()
    return near if 0 < inside < (1 - BODY) * surface.areas.sum() else np.ones_like(near)


def _those_between(
    surface: Surface, kept: NDArray[np.bool_], faces: NDArray[np.integer]
) -> NDArray[np.integer] | None:
    return None if kept.all() else faces[all_corners(kept[surface.from_input], faces)]


def _is_one_piece(surface: Surface) -> bool:
    """Whether the largest part is most of the surface: there is hardly a body, hat or hair to leave out then."""
    largest = surface.areas[surface.component[surface.faces[:, 0]] == 0].sum()
    return bool(largest > ONE_PIECE * surface.areas.sum())


def _spectrum(surface: Surface, eigenpairs: int) -> tuple[Spectrum, float]:
    points, unit = in_own_unit(surface.vertices)
    return Spectrum.build(points, surface.faces, surface.component, eigenpairs), unit


def in_own_unit(vertices: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Vertices (S, 3) about their mean in a unit of about their extent, and that unit: no number overflows."""
    centred = vertices - vertices.mean(axis=0)
    unit = float(np.abs(centred).max())
    return centred / unit, unit


def find_pieces(
    surface: Surface, frame: Frame, normals: NDArray[np.float64] | None = None
) -> tuple[Parts, Mirror | None]:
    """The parts and the symmetry of a head whose frame is known, and maybe its normals (S, 3), canonical.

    Of a large one, no symmetry is looked for.
    """
    points = frame.to_canonical(surface.vertices)
    parts = Parts.find(points, surface.faces, surface.component)
    if len(points) > LARGE:
        return parts, None
    normals = vertex_normals(points, surface.faces) if normals is None else normals
    return parts, Mirror.find(points, normals, surface.component, parts.skin)


def outwards(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reverse all triangles (T, 3) if most of their area faces the middle of the canonical head."""
    outward = points.take(faces.T, axis=0).sum(axis=0) / 3 - HEAD_CENTRE
    inwards = np.einsum("ij,ij->", face_area_vectors(points, faces), outward) < 0
    return np.ascontiguousarray(faces[:, ::-1]) if inwards else faces
