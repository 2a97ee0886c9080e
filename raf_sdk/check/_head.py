"""A rig as the checks see it: the welded surface in canonical coordinates, its parts, and its motions.

Canonical coordinates (:mod:`raf_runtime.frame`) are Y up, +Z out of the face, the character's left at +X, the
middle between eyes and mouth at 0. The unit, about 4 cm on an adult, makes bars of lengths mean the same on
every head. Nothing here knows which network made the rig, or whether one did.

Axis legend: V input vertices, S surface vertices, T triangles.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from raf_runtime.names import match_names
from raf_runtime.surface import Surface, face_areas
from raf_sdk.check._eyeballs import find_eyes
from raf_sdk.check._frame import find_frame
from raf_sdk.check._view import FACE, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from raf_runtime.frame import Frame
    from raf_sdk._rig import Rig

__all__ = ["MOUTH", "Head"]

# The mouth of true rigs of three families, canonical: within 0.1 of this.
MOUTH: Final = np.array([0.0, -1.11, 0.1])
# Parts within this many radii of an eyeball's centre belong to it: lashes, fluids, corneas.
DETAIL: Final = 2.0
# Parts that cover this share of the face as seen from the front are skin.
SKIN_SHARE: Final = 0.03


class Head:
    """Surface, parts and motions of a rig in canonical coordinates.

    Parameters
    ----------
    rig
        What is checked.

    Attributes
    ----------
    points : (S, 3) float64
        Neutral, canonical.
    faces : (T, 3) int64
        Triangles.
    component : (S,) int64
        Connected component of each vertex.
    area : (S,) float64
        A third of the area around each vertex, canonical.
    eyes : dict of Eye
        By side; empty where no round part lies at the eye.

    Raises
    ------
    MeshError
        The mesh is no surface.
    """

    def __init__(self, rig: Rig) -> None:
        surface = Surface.build(rig.vertices, rig.faces)
        self.rig = rig
        self.surface = surface
        self.frame: Frame = find_frame(surface)
        self.points: NDArray[np.float64] = self.frame.to_canonical(surface.vertices)
        self.faces = surface.faces
        self.component = surface.component
        self._rows = match_names(rig.names)
        # Any input vertex of a surface vertex stands for it: that they agree is a check of its own.
        self.first = np.zeros(len(self.points), np.int64)
        inside = np.flatnonzero(surface.from_input >= 0)
        self.first[surface.from_input[inside[::-1]]] = inside[::-1]
        self.area = np.bincount(
            self.faces.reshape(-1),
            weights=np.repeat(face_areas(self.points, self.faces) / 3, 3),
            minlength=len(self.points),
        )
        self.eyes = find_eyes(self.points, self.component)

    @property
    def names(self) -> tuple[str, ...]:
        """ARKit names of the shapes that the rig has."""
        return tuple(self._rows)

    def __contains__(self, name: str) -> bool:
        """Whether the rig has a shape of this ARKit name."""
        return name in self._rows

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of some shapes that the rig lacks."""
        return [name for name in names if name not in self]

    def motion(self, *names: str) -> NDArray[np.float64]:
        """Displacement (S, 3) of the surface under some shapes together, canonical."""
        rows = [row for name in names for row in self._rows[name]]
        total = self.rig.deltas[rows][:, self.first].sum(axis=0, dtype=np.float64)
        return total @ self.frame.rotation.T / self.frame.unit

    def rows(self, name: str) -> tuple[int, ...]:
        """Rows of ``rig.deltas`` whose sum is a shape."""
        return self._rows[name]

    @cached_property
    def neutral_view(self) -> Seen:
        """The whole face, neutral, from the front."""
        return FACE.look(self.points, self.faces)

    @cached_property
    def front(self) -> NDArray[np.bool_]:
        """(S,) mask of what can be seen of the face from the front in the neutral."""
        seen = np.zeros(len(self.points), bool)
        seen[self.faces[self.neutral_view.faces]] = True
        return seen

    @cached_property
    def skin(self) -> NDArray[np.bool_]:
        """(S,) mask of the parts that cover much of the face: skin, and whatever covers it."""
        seen = self.component[self.faces[self.neutral_view.faces, 0]]
        counts = np.bincount(seen, minlength=int(self.component.max()) + 1)
        for eye in self.eyes.values():
            near = np.linalg.norm(self.points - eye.centre, axis=1) < DETAIL * eye.radius
            far = np.bincount(self.component, weights=~near, minlength=len(counts))
            counts[far == 0] = 0
        return (counts >= SKIN_SHARE * max(int(counts.sum()), 1))[self.component]
