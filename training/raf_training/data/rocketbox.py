"""Microsoft Rocketbox: 114 neutral game heads without shapes, which know where the face is, and what is worn on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame import Frame
from raf_runtime.surface import Surface
from raf_training.data.archives import RAGGED, check_ragged, read_archive

__all__ = ["ATTRIBUTION", "RocketboxHead", "load_rocketbox"]

ATTRIBUTION: Final = "Microsoft Rocketbox avatars (c) Microsoft, MIT licence"

# Every fifth avatar is kept out of training. Many share a hat or hair with another one.
_HELD_OUT: Final = (5, 3)
# Every eyeball of the library is the same mesh.
_EYEBALL_VERTICES: Final = 73
# Left eye, right eye and mouth, with the eyeballs at (1, 0, 0) and (-1, 0, 0). The heads share a skeleton, so
# that one face fits all: the networks of `frame`, shown the heads without what they wear, see the mouth within
# 0.2 of this place on all but a few, which moves the origin by 0.05 units.
_ANCHORS: Final = np.array([[0.97, 0.06, 0.22], [-0.97, 0.06, 0.22], [0.0, -2.15, 0.32]])
# Loose parts this near to an eye are its lashes, in units. Lenses of glasses stand further away.
_LASHES: Final = 0.62
# The skin is the part with most vertices in this box around the face, canonical coordinates.
_FACE: Final = np.array([[-0.9, -1.3, -0.8], [0.9, 1.2, 1.2]])


@dataclass(frozen=True, slots=True)
class RocketboxHead:
    """A neutral head in canonical coordinates.

    Attributes
    ----------
    name
        As the library calls the avatar.
    vertices : (S, 3) float64
        Welded; Y up, +Z out of the face, the character's left at +X, in units.
    faces : (T, 3) int64
        Triangles.
    worn : (T,) bool
        Triangles of loose parts that do not move with the face: hats, helmets, hair, glasses, collars. Hair and
        scarves that are one mesh with the skin are not among them.
    anchors : (3, 3) float64
        Left eye, right eye, mouth: these define the coordinates. The eyes are exact, the mouth a guess.
    held_out : bool
        Whether the head is for tests only.
    """

    name: str
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    worn: NDArray[np.bool_]
    anchors: NDArray[np.float64]
    held_out: bool


def load_rocketbox(data_dir: Path) -> list[RocketboxHead]:
    """Read every head that has two eyeballs (one, of a distant figure, has none).

    Parameters
    ----------
    data_dir
        Folder of ``rocketbox_neutral.npz``.

    Raises
    ------
    DataError
        If the archive is missing or incomplete.
    """
    path = data_dir / "rocketbox_neutral.npz"
    archive = read_archive(path, RAGGED)
    check_ragged(path, archive)
    names, vertices, faces, first_vertex, first_face = (archive[name] for name in RAGGED)
    every, offset = _HELD_OUT
    heads = (
        _head(
            str(name),
            vertices[first_vertex[i] : first_vertex[i + 1]],
            faces[first_face[i] : first_face[i + 1]],
            i % every == offset,
        )
        for i, name in enumerate(names)
    )
    return [head for head in heads if head is not None]


def _head(
    name: str, vertices: NDArray[np.floating], faces: NDArray[np.integer], held_out: bool
) -> RocketboxHead | None:
    surface = Surface.build(vertices, faces)
    part = surface.component
    eyes = np.flatnonzero(np.bincount(part) == _EYEBALL_VERTICES)
    if len(eyes) != 2:
        return None
    right, left = sorted((surface.vertices[part == eye].mean(axis=0) for eye in eyes), key=lambda eye: eye[0])
    anchors = (left + right) / 2 + _ANCHORS * np.linalg.norm(left - right) / 2
    frame = Frame.from_anchors(anchors)
    points, anchors = frame.to_canonical(surface.vertices), frame.to_canonical(anchors)
    worn = _worn(points, part, eyes)[surface.faces[:, 0]]
    return RocketboxHead(name, points, surface.faces, worn, anchors, held_out)


def _worn(
    vertices: NDArray[np.float64], part: NDArray[np.int64], eyes: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mask (S,) of the vertices of all parts but skin, eyeballs and lashes."""
    own = np.isin(part, eyes)
    in_face = ((vertices > _FACE[0]) & (vertices < _FACE[1])).all(axis=1) & ~own
    own |= part == np.bincount(part[in_face]).argmax()
    for eye in eyes:
        ball = vertices[part == eye].mean(axis=0)
        far = np.zeros(int(part.max()) + 1)
        np.maximum.at(far, part, np.linalg.norm(vertices - ball, axis=1))
        own |= far[part] < _LASHES
    return ~own
