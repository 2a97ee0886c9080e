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
from raf_runtime.frame import HEAD_CENTRE, Frame, estimate_frame
from raf_runtime.neck import Neck, body, cut
from raf_runtime.operators import Operators, vertex_normals
from raf_runtime.parts import Parts
from raf_runtime.surface import Surface, face_area_vectors
from raf_runtime.symmetry import Mirror
from raf_runtime.threads import blas_on_one_thread

__all__ = ["PreparedHead", "find_pieces", "head_on_body", "outwards", "prepare_head"]

# Above this many vertices a coarser surface stands in: more detail than the basis resolves only costs time.
LARGE = 80_000


@dataclass(frozen=True, slots=True)
class PreparedHead:
    """Everything that rigging a head needs and that does not depend on the model's weights.

    Attributes
    ----------
    surface : Surface
        Welded surface, in the input's frame, without the body.
    neck : Neck
        How it moves with the head, which the network sees.
    frame : Frame
        From the input's frame to the canonical one.
    operators : Operators
        Inputs of the network, canonical; of ``coarse`` where there is one.
    coarse : Coarse or None
        The stand-in of a large head.
    parts : Parts
        Eyeballs, teeth and the like, among the vertices of ``surface``.
    mirror : Mirror or None
        The symmetry of ``surface``, where it has one; not looked for behind a stand-in.
    """

    surface: Surface
    neck: Neck
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
        displacements : (P, n, 3) float32
            In canonical units, of the vertices of ``operators``.
        poses : sequence of str
            Names of the P poses.

        Returns
        -------
        (P, V, 3) float32
            In the unit and frame of the input; zero for vertices that no triangle uses.
        """
        moved = self.neck.follow(displacements if self.coarse is None else self.coarse.to_fine(displacements))
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
    if frame is None:
        frame = estimate_frame(surface.vertices, surface.faces)
    points = frame.to_canonical(surface.vertices)
    if (far := body(points, surface.faces)) is not None:
        surface = surface.part(np.logical_not(far[surface.faces].any(axis=1)))
        points = frame.to_canonical(surface.vertices)
    head, neck = cut(surface, points)
    # Most of either is where Python lets other threads run.
    with ThreadPoolExecutor(1) as pool:
        pieces = pool.submit(find_pieces, surface, frame)
        points = frame.to_canonical(head.vertices)
        triangles, component, coarse = outwards(points, head.faces), head.component, None
        if len(points) > LARGE:
            coarse = Coarse.build(points, triangles, component, LARGE // 2)
            points, triangles, component = coarse.vertices, coarse.faces, coarse.component
        operators = Operators.build(points, triangles, component, eigenpairs)
        return PreparedHead(surface, neck, frame, operators, coarse, *pieces.result())


def head_on_body(surface: Surface, frame: Frame, faces: NDArray[np.integer]) -> NDArray[np.integer] | None:
    """Those of the input's triangles (T, 3) that are the head of a body; None where there is little else."""
    far = body(frame.to_canonical(surface.vertices), surface.faces)
    return None if far is None else faces[~far[surface.from_input[faces]].any(axis=1)]


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
