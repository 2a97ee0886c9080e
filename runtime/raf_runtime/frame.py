"""The canonical frame: where the face is, which way it looks, and how large it is.

Canonical coordinates are Y up, +Z out of the face, the character's left at +X. Three facial anchors fix the
rest: the origin is the centroid of left eye, right eye and mouth, the unit their RMS distance from it (about
4 cm on an adult).

Two small point networks (PointNet: Qi et al., "PointNet", 2017) find the frame from samples of the surface.
The first sees the whole cloud in each of the 24 axis rotations and says in which of them it looks upright,
and where the face then is. The second sees only the surroundings of the face, as the estimate so far places
them, and corrects it. Neither depends on triangulation, vertex order or winding.

Axis legend: S surface vertices, T triangles, N samples, B clouds at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from itertools import permutations, product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.surface import face_area_vectors

__all__ = [
    "AXIS_ROTATIONS",
    "HEAD_CENTRE",
    "WINDOW",
    "Frame",
    "FrameNetworks",
    "PointNetwork",
    "estimate_frame",
    "load_frame_networks",
]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

# What the second network sees: this far around the origin, in units. It holds brow, ears and jaw.
WINDOW: Final = 3.0
# Normals are turned away from the middle of the head, so that winding does not matter.
HEAD_CENTRE: Final = (0.0, 0.0, -2.0)
COARSE_SAMPLES: Final = 512
FINE_SAMPLES: Final = 2048
REFINEMENTS: Final = 3
# With fewer samples than this left in the window there is no face to see: the estimate stays as it is.
FEWEST_SAMPLES: Final = 32
# A mirrored cloud has its axes and anchors (left eye, right eye, mouth) mirrored, and the eyes exchanged.
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


@dataclass(frozen=True, slots=True)
class PointNetwork:
    """A perceptron on every point, maximum and mean over the points, a perceptron on those.

    Attributes
    ----------
    point, head : tuple of ((C_in, C_out), (C_out,)) float32
        Weights and biases; a rectifier follows every layer but the last of the head.
    """

    point: tuple[tuple[Floats, Floats], ...]
    head: tuple[tuple[Floats, Floats], ...]

    def __call__(self, clouds: Floats) -> tuple[Floats, Doubles, Doubles]:
        """Look at clouds (B, N, 6) of positions and normals.

        Returns
        -------
        uprightness : (B,) float32
            Estimated cosine of the angle between the cloud and its upright position.
        axes : (B, 2, 3) float64
            Estimated directions of canonical Y and Z in the cloud's frame.
        anchors : (B, 3, 3) float64
            Estimated left eye, right eye and mouth in the cloud's frame.
        """
        count = clouds.shape[1]
        x = clouds.reshape(-1, clouds.shape[2])
        for weight, bias in self.point:
            x = x @ weight
            x += bias
            np.maximum(x, 0, out=x)
        x = x.reshape(len(clouds), count, -1)
        x = np.concatenate([x.max(axis=1), x.mean(axis=1)], axis=1)
        for weight, bias in self.head[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        weight, bias = self.head[-1]
        x = x @ weight + bias
        wide = x.astype(np.float64)
        return x[:, 0], wide[:, 1:7].reshape(-1, 2, 3), wide[:, 7:].reshape(-1, 3, 3)


@dataclass(frozen=True, slots=True)
class FrameNetworks:
    """The two networks: the whole cloud in any orientation, the face nearly in place."""

    coarse: PointNetwork
    fine: PointNetwork


def load_frame_networks(path: Path) -> FrameNetworks:
    """Read the networks from an ``.npz`` file of arrays ``NETWORK.STAGE.LAYER.weight`` and ``...bias``.

    Parameters
    ----------
    path
        File written by ``raf_training.frame_training``. Nothing in it is unpickled.
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name].astype(np.float32) for name in archive.files}

    def layers(stage: str) -> tuple[tuple[Floats, Floats], ...]:
        count = sum(name.startswith(stage) for name in arrays) // 2
        return tuple((arrays[f"{stage}.{i}.weight"], arrays[f"{stage}.{i}.bias"]) for i in range(count))

    coarse, fine = (
        PointNetwork(layers(f"{name}.point"), layers(f"{name}.head")) for name in ("coarse", "fine")
    )
    return FrameNetworks(coarse, fine)


@cache
def _shipped_networks() -> FrameNetworks:
    with as_file(files("raf_runtime") / "frame.npz") as path:
        return load_frame_networks(path)


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
    corners = (vertices - centre)[faces]
    normals = face_area_vectors(vertices - centre, faces)
    area = 0.5 * np.linalg.norm(normals, axis=1)
    normals /= np.maximum(2 * area, np.finfo(np.float64).tiny)[:, None]
    frame = _coarse_frame(networks.coarse, corners, normals, area)
    for _ in range(REFINEMENTS):
        frame = _refined_frame(networks.fine, frame, corners, normals, area)
    return Frame(frame.rotation, frame.origin + centre, frame.unit)


def _coarse_frame(network: PointNetwork, corners: Doubles, normals: Doubles, area: Doubles) -> Frame:
    points, directions = _sample(corners, normals, area, COARSE_SAMPLES)
    middle = points.mean(axis=0)
    points = points - middle
    radius = max(float(np.sqrt((points**2).sum(axis=1).mean())), float(np.finfo(np.float64).tiny))
    points /= radius
    cloud = np.stack([points, _turned(directions, points)])
    turned = np.einsum("rij,cnj->rnci", AXIS_ROTATIONS, cloud).reshape(len(AXIS_ROTATIONS), -1, 6)
    uprightness, axes, anchors = network(turned.astype(np.float32))
    best = int(uprightness.argmax())
    turn = AXIS_ROTATIONS[best]
    placed = Frame.from_anchors(anchors[best] @ turn, _rotation(axes[best]) @ turn)
    return Frame(placed.rotation, placed.origin * radius + middle, placed.unit * radius)


def _refined_frame(
    network: PointNetwork, frame: Frame, corners: Doubles, normals: Doubles, area: Doubles
) -> Frame:
    centroid = corners.mean(axis=1)
    reach = np.sqrt(((corners - centroid[:, None]) ** 2).sum(axis=2).max(axis=1)) + WINDOW * frame.unit
    near = np.flatnonzero(((centroid - frame.origin) ** 2).sum(axis=1) < reach**2)
    if not area[near].sum() > 0:
        return frame
    points, directions = _sample(corners[near], normals[near], area[near], FINE_SAMPLES)
    points, directions = frame.to_canonical(points), directions @ frame.rotation.T
    inside = (points**2).sum(axis=1) < WINDOW**2
    if inside.sum() < FEWEST_SAMPLES:
        return frame
    points, directions = points[inside], directions[inside]
    cloud = np.concatenate([points, _turned(directions, points - HEAD_CENTRE)], axis=1)
    both = np.stack([cloud, cloud * np.tile(_MIRROR, 2)])
    _, axes, anchors = network(both.astype(np.float32))
    mean_axes = (axes[0] + axes[1] * _MIRROR) / 2
    mean_anchors = (anchors[0] + anchors[1][_MIRRORED_ANCHORS] * _MIRROR) / 2
    placed = Frame.from_anchors(mean_anchors @ frame.rotation, _rotation(mean_axes) @ frame.rotation)
    return Frame(placed.rotation, placed.origin * frame.unit + frame.origin, placed.unit * frame.unit)


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
    return np.where((directions * outwards).sum(axis=1, keepdims=True) < 0, -directions, directions)


def _sample(corners: Doubles, normals: Doubles, area: Doubles, count: int) -> tuple[Doubles, Doubles]:
    """Spread ``count`` points (N, 3) and their unit normals (N, 3) evenly over triangles (T, 3, 3)."""
    total = np.cumsum(area)
    face = np.searchsorted(total, (np.arange(count) + 0.5) * (total[-1] / count)).clip(max=len(area) - 1)
    # Additive recurrence of the plastic number: Roberts, "The Unreasonable Effectiveness
    # of Quasirandom Sequences".
    u, v = ((np.arange(count)[:, None] + 0.5) * (0.7548776662466927, 0.5698402909980532) % 1).T
    beyond = u + v > 1
    u, v = np.where(beyond, 1 - u, u), np.where(beyond, 1 - v, v)
    a, b, c = (corners[face, i] for i in range(3))
    return a + u[:, None] * (b - a) + v[:, None] * (c - a), normals[face]
