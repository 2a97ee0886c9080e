"""The canonical frame: where the face is, which way it looks, and how large it is.

Canonical coordinates are Y up, +Z out of the face, the character's left at +X. Three facial anchors fix the
rest: the origin is the centroid of left eye, right eye and mouth, the unit their RMS distance from it (about
4 cm on an adult).

Two small networks find the frame from samples of the surface. The first sees a point cloud of it all in each
of the 24 axis rotations and says in which of them it looks upright, and where the face then is. The second
sees a map of depth and normals of the face, drawn where the estimate so far places it, and corrects that.
Neither depends on triangulation, vertex order or winding.

Axis legend: S surface vertices, T triangles, N samples, B clouds at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from itertools import permutations, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame_networks import EXTENT, FrameNetworks, MapNetwork, PointNetwork, front_map
from raf_runtime.surface import face_area_vectors

__all__ = ["AXIS_ROTATIONS", "HEAD_CENTRE", "Frame", "estimate_frame"]

Doubles = NDArray[np.float64]

# Normals are turned away from the middle of the head, so that winding does not matter.
HEAD_CENTRE: Final = (0.0, 0.0, -2.0)
COARSE_SAMPLES: Final = 512
# Maps are drawn as densely as in training, in samples per square unit: a denser one has fewer gaps and looks
# larger. Several such maps, each of its own samples, are looked at, and the answers averaged.
DENSITY: Final = 20.0
FINE_SAMPLES: Final = (512, 4096)
MAPS: Final = 4
REFINEMENTS: Final = 3
# With fewer samples than this on the map there is no face to see: the estimate stays as it is.
FEWEST_SAMPLES: Final = 32
# In a mirrored map the anchors (left eye, right eye, mouth) have their eyes exchanged.
_MIRROR: Final = np.array([-1.0, 1.0, 1.0])
_MIRRORED_ANCHORS: Final = [1, 0, 2]


def _axis_rotations() -> Doubles:
    """Proper rotations (24, 3, 3) that map axes to axes; the first is the identity."""
    signed = (
        np.diag(signs)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    )
    return np.stack([matrix for matrix in signed if np.linalg.det(matrix) > 0])


AXIS_ROTATIONS: Final = _axis_rotations()


@dataclass(frozen=True, slots=True)
class Frame:
    """A similarity: ``canonical = (point - origin) @ rotation.T / unit``.

    Attributes
    ----------
    rotation : (3, 3) float64
        Proper; its rows are the canonical axes in the input's frame.
    origin : (3,) float64
        Centroid of the anchors, in the input's frame and unit.
    unit : float
        RMS distance of the anchors from the origin, in the input's unit.
    """

    rotation: Doubles
    origin: Doubles
    unit: float

    @classmethod
    def from_anchors(cls, anchors: NDArray[np.floating], rotation: Doubles | None = None) -> Frame:
        """Make the frame of known anchors.

        Parameters
        ----------
        anchors : (3, 3) float
            Rows: the character's left eye, right eye, mouth, in any order.
        rotation : (3, 3) float64, optional
            Rows are the canonical axes; the input's own axes by default.
        """
        points = np.asarray(anchors, dtype=np.float64)
        origin = points.mean(axis=0)
        unit = float(np.sqrt(((points - origin) ** 2).sum(axis=1).mean()))
        return cls(
            np.eye(3) if rotation is None else rotation, origin, max(unit, float(np.finfo(np.float64).tiny))
        )

    def to_canonical(self, points: NDArray[np.floating]) -> Doubles:
        """Carry points (..., 3) of the input to canonical coordinates."""
        return (points - self.origin) @ self.rotation.T / self.unit

    def vectors_to_input(self, displacements: NDArray[np.floating]) -> Doubles:
        """Carry canonical displacements (..., 3) to the input's frame and unit."""
        return self.unit * displacements @ self.rotation


@cache
def _shipped_networks() -> FrameNetworks:
    with as_file(files("raf_runtime") / "frame.npz") as path:
        return FrameNetworks.load(path)


def estimate_frame(
    vertices: Doubles, faces: NDArray[np.int64], networks: FrameNetworks | None = None
) -> Frame:
    """Find the canonical frame of a head.

    Any unit, position, up axis and winding will do. The result follows axis rotations, translation and scale
    up to rounding; on anything but a head it is a frame without a meaning.

    Parameters
    ----------
    vertices : (S, 3) float64
        Positions of a welded surface, any unit and frame.
    faces : (T, 3) int64
        Triangles; their total area is not zero.
    networks
        Other networks than those that ship with the package.
    """
    networks = networks or _shipped_networks()
    centre = vertices.mean(axis=0)
    # Translation is taken out before anything is computed from products of coordinates.
    soup = _Soup.build(vertices - centre, faces)
    frame = _coarse_frame(networks.coarse, soup)
    for _ in range(REFINEMENTS):
        frame = _refined_frame(networks.fine, soup, frame)
    return Frame(frame.rotation, frame.origin + centre, frame.unit)


@dataclass(frozen=True, slots=True)
class _Soup:
    """Triangles to take samples of: area, and centre and radius of a ball around each."""

    vertices: Doubles
    faces: NDArray[np.int64]
    area_vector: Doubles
    area: Doubles
    middle: Doubles
    radius: Doubles

    @classmethod
    def build(cls, vertices: Doubles, faces: NDArray[np.int64]) -> _Soup:
        area_vector = face_area_vectors(vertices, faces)
        corners = [vertices[faces[:, i]] for i in range(3)]
        middle = (corners[0] + corners[1] + corners[2]) / 3
        radius = np.sqrt(np.max([_squares(corner - middle) for corner in corners], axis=0))
        return cls(vertices, faces, area_vector, np.sqrt(_squares(area_vector)) / 2, middle, radius)

    def sample(self, faces: NDArray[np.int64], count: int) -> tuple[Doubles, Doubles]:
        """Spread ``count`` points (N, 3) and their unit normals (N, 3) evenly over some of the faces."""
        total = np.cumsum(self.area[faces])
        place = np.searchsorted(total, (np.arange(count) + 0.5) * (total[-1] / count))
        face = faces[place.clip(max=len(faces) - 1)]
        # Additive recurrence of the plastic number: Roberts, "The Unreasonable Effectiveness of Quasirandom
        # Sequences", 2018.
        u, v = ((np.arange(count)[:, None] + 0.5) * (0.7548776662466927, 0.5698402909980532) % 1).T
        beyond = u + v > 1
        u, v = np.where(beyond, 1 - u, u)[:, None], np.where(beyond, 1 - v, v)[:, None]
        a, b, c = (self.vertices[self.faces[face, i]] for i in range(3))
        normal = self.area_vector[face] / np.maximum(2 * self.area[face], np.finfo(np.float64).tiny)[:, None]
        return a + u * (b - a) + v * (c - a), normal


def _coarse_frame(network: PointNetwork, soup: _Soup) -> Frame:
    points, directions = soup.sample(np.arange(len(soup.faces)), COARSE_SAMPLES)
    middle = points.mean(axis=0)
    points = points - middle
    radius = max(float(np.sqrt(_squares(points).mean())), float(np.finfo(np.float64).tiny))
    points /= radius
    cloud = np.stack([points, _turned(directions, points)])
    turned = np.einsum("rij,cnj->rnci", AXIS_ROTATIONS, cloud).reshape(len(AXIS_ROTATIONS), -1, 6)
    guess = network(turned.astype(np.float32))
    best = int(guess.uprightness.argmax())
    turn = AXIS_ROTATIONS[best]
    placed = Frame.from_anchors(guess.anchors[best] @ turn, _rotation(guess.axes[best]) @ turn)
    return Frame(placed.rotation, placed.origin * radius + middle, placed.unit * radius)


def _refined_frame(network: MapNetwork, soup: _Soup, frame: Frame) -> Frame:
    # The map is a cube; a ball around it tells which faces may reach into it.
    reach = soup.radius + 3**0.5 * EXTENT * frame.unit
    near = np.flatnonzero(_squares(soup.middle - frame.origin) < reach**2)
    visible = float(soup.area[near].sum())
    if not visible > 0:
        return frame
    count = int(np.clip(DENSITY * visible / frame.unit**2, *FINE_SAMPLES))
    points, directions = soup.sample(near, MAPS * count)
    points, directions = frame.to_canonical(points), directions @ frame.rotation.T
    if (np.abs(points).max(axis=1) < EXTENT).sum() < FEWEST_SAMPLES:
        return frame
    directions = _turned(directions, points - HEAD_CENTRE)
    maps = [
        front_map(points[i::MAPS] * side, directions[i::MAPS] * side)
        for side in (1.0, _MIRROR)
        for i in range(MAPS)
    ]
    guess = network(np.stack(maps))
    axes = guess.axes.reshape(2, MAPS, 2, 3).mean(axis=1)
    anchors = guess.anchors.reshape(2, MAPS, 3, 3).mean(axis=1)
    axes = (axes[0] + axes[1] * _MIRROR) / 2
    anchors = (anchors[0] + anchors[1][_MIRRORED_ANCHORS] * _MIRROR) / 2
    placed = Frame.from_anchors(anchors @ frame.rotation, _rotation(axes) @ frame.rotation)
    return Frame(placed.rotation, placed.origin * frame.unit + frame.origin, placed.unit * frame.unit)


def _squares(vectors: Doubles) -> Doubles:
    """Squared lengths (N,) of vectors (N, 3)."""
    return np.einsum("ij,ij->i", vectors, vectors)


def _rotation(axes: Doubles) -> Doubles:
    """Proper rotation (3, 3) whose Z row is the second of two directions (2, 3), Y nearest to the first."""
    up, forward = axes
    z = forward / max(float(np.linalg.norm(forward)), 1e-12)
    x = np.cross(up, z)
    length = float(np.linalg.norm(x))
    if length < 1e-6:
        return np.eye(3)
    x /= length
    return np.stack([x, np.cross(z, x), z])


def _turned(directions: Doubles, outwards: Doubles) -> Doubles:
    """Directions (N, 3) with the sign that agrees with ``outwards`` (N, 3)."""
    return np.where(np.einsum("ij,ij->i", directions, outwards)[:, None] < 0, -directions, directions)
