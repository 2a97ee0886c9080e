"""The surface stays a surface: no folded or exploded triangles, no seam that opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from raf_runtime.surface import face_area_vectors
from raf_sdk._report import Bar, Check
from raf_sdk.check._head import Head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["check_seams", "check_triangles"]

# A triangle is turned over if the cosine between its normals is below this: beyond what rolling lips and closing lids
# do. True rigs turn over 0.09 square units at most, where lips and lids fold.
TURNED: Final = -0.3
FOLD_BAR: Final = Bar("square units of triangles turned over", high=0.2)
SPIKE_BAR: Final = Bar("units out of line with the vertices around", high=0.25)
# Where lips part, and where a tongue leaves the mouth, neighbours part by up to 0.34 on true rigs; elsewhere by 0.2.
PARTING_BAR: Final = Bar(SPIKE_BAR.unit, high=0.5)
PARTING: Final = ("jawOpen", "mouthClose", "tongueOut")
SEAM_BAR: Final = Bar("units", high=1e-3)


def check_triangles(head: Head) -> Iterator[Check]:
    """No triangle is turned against its surroundings, no vertex torn out of line with its neighbours."""
    start, end = _edges(head.faces)
    count = len(head.points)
    ones = np.ones(len(start))
    links = sparse.coo_array((ones, (start, end)), shape=(count, count)).tocsr()
    degree = np.maximum(links.sum(axis=1), 1)
    before = face_area_vectors(head.points, head.faces)
    area = np.linalg.norm(before, axis=1) / 2
    for shape in head.names:
        motion = head.motion(shape)
        after = face_area_vectors(head.points + motion, head.faces)
        along = np.einsum("ij,ij->i", before, after)
        turned = area[along < TURNED * 2 * area * np.linalg.norm(after, axis=1)].sum()
        yield Check.judged(
            "triangles folded", [shape], turned, FOLD_BAR, "none to speak of", "the surface folds over itself"
        )
        out = np.linalg.norm(motion - (links @ motion) / degree[:, None], axis=1)
        yield Check.judged(
            "triangles torn",
            [shape],
            out.max(),
            PARTING_BAR if shape in PARTING else SPIKE_BAR,
            "none",
            "a vertex flies off, or the surface tears",
        )


def check_seams(head: Head) -> Iterator[Check]:
    """Vertices that are one point of the surface, split for a texture seam, stay together."""
    name = "seams shut"
    weld = head.surface.from_input
    twins = np.flatnonzero((weld >= 0) & (head.first[weld] != np.arange(len(weld))))
    if len(twins) == 0:
        yield Check.unasked(name, [], "no vertices are split along seams")
        return
    for shape in head.names:
        deltas = head.rig.deltas[list(head.rows(shape))].sum(axis=0)
        apart = (
            np.linalg.norm(deltas[twins] - deltas[head.first[weld[twins]]], axis=1).max() / head.frame.unit
        )
        yield Check.judged(name, [shape], apart, SEAM_BAR, "they stay shut", "the surface opens along a seam")


def _edges(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end (E,) of every edge, once in each direction."""
    both = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.unique(np.concatenate([both, both[:, ::-1]]), axis=0)
    return both[:, 0], both[:, 1]
