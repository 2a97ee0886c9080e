"""Parts to wear: hats, helmets, hair, glasses, masks and collars of the Rocketbox heads, for any head to put on.

Axis legend: N vertices and T triangles of an outfit, V vertices of the head that wears it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from raf_runtime.surface import face_areas
from raf_training.data.rocketbox import ATTRIBUTION, RocketboxHead, load_rocketbox

__all__ = ["ATTRIBUTION", "Outfit", "Wardrobe", "load_wardrobe"]

Doubles = NDArray[np.float64]

# What has less area than this, in square units, is a badge or a button.
_LEAST_AREA: Final = 2.0
# Hats tilt about the middle of the head, in units.
_PIVOT: Final = np.array([0.0, 0.5, -2.0])
# A skull is fitted within these factors; an animal's ears are no reason for a larger hat.
_FIT: Final = (0.8, 1.5)
_JITTER_SCALE, _JITTER_SHIFT, _JITTER_DEGREES = 0.04, 0.08, 3.0


@dataclass(frozen=True, slots=True)
class Outfit:
    """All that one head wears, in its canonical coordinates.

    Attributes
    ----------
    name
        Who wears it.
    vertices : (N, 3) float64
    faces : (T, 3) int64
    skull : (3,) float64
        Half width, height above the origin and depth behind it, of the head that wears it, in units.
    """

    name: str
    vertices: Doubles
    faces: NDArray[np.int64]
    skull: Doubles


@dataclass(frozen=True, slots=True)
class Wardrobe:
    """Outfits to draw from."""

    outfits: tuple[Outfit, ...]

    def dress(
        self, rng: np.random.Generator, head: NDArray[np.floating] | None = None
    ) -> tuple[Doubles, NDArray[np.int64]]:
        """Draw an outfit, a little scaled, shifted and tilted, and mirrored at random.

        Parameters
        ----------
        rng
            The only source of chance.
        head : (V, 3) float, optional
            Who shall wear it, in canonical coordinates: the outfit is scaled to fit that skull.

        Returns
        -------
        vertices : (N, 3) float64
            In canonical coordinates.
        faces : (T, 3) int64
            Triangles, to be appended to the head's as parts that no pose moves.
        """
        outfit = self.outfits[int(rng.integers(len(self.outfits)))]
        points, faces = outfit.vertices, outfit.faces
        if head is not None:
            width, height, depth = np.clip(_skull(head) / outfit.skull, *_FIT)
            # Above and behind the origin only: what stands before the face keeps its place.
            x, y, z = points.T
            points = np.stack([x * width, np.where(y > 0, y * height, y), np.where(z < 0, z * depth, z)], 1)
        turn = Rotation.from_rotvec(rng.normal(0, _JITTER_DEGREES, 3), degrees=True)
        scale, shift = np.exp(rng.normal(0, _JITTER_SCALE)), rng.normal(0, _JITTER_SHIFT, 3)
        points = scale * turn.apply(points - _PIVOT) + _PIVOT + shift
        if rng.random() < 0.5:
            points, faces = points * [-1.0, 1.0, 1.0], faces[:, ::-1]
        return points, faces


def load_wardrobe(data_dir: Path) -> Wardrobe:
    """Collect what the Rocketbox heads wear, those aside that are held out.

    Parameters
    ----------
    data_dir
        Folder of ``rocketbox_neutral.npz``.

    Raises
    ------
    DataError
        If the archive is missing or incomplete.
    """
    return Wardrobe(tuple(_outfits(head for head in load_rocketbox(data_dir) if not head.held_out)))


def _outfits(heads: Iterable[RocketboxHead]) -> Iterable[Outfit]:
    for head in heads:
        faces = head.faces[head.worn]
        if face_areas(head.vertices, faces).sum() < _LEAST_AREA:
            continue
        used, renumbered = np.unique(faces, return_inverse=True)
        own = head.vertices[np.unique(head.faces[~head.worn])]
        yield Outfit(head.name, head.vertices[used], renumbered.reshape(-1, 3), _skull(own))


def _skull(vertices: NDArray[np.floating]) -> Doubles:
    """Half width, height and depth (3,) of what of a head (V, 3) lies above its origin."""
    upper = vertices[vertices[:, 1] > 0]
    return np.maximum([np.abs(upper[:, 0]).max(), upper[:, 1].max(), -upper[:, 2].min()], 0.5)
