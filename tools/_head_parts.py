"""What the grid of the skin is completed with: mouth bag, eye socket, ear, eyeball, teeth."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import _head_shape as shape
import numpy as np
from _head_mesh import Face, HalfHead, Indices, strip
from _head_shape import Array
from numpy.typing import NDArray

# Mouth bag, ring after ring: z in the middle and at the corner, half width, height above and below the slit.
_BAG = [
    (10.42, 9.05, 2.50, 0.30, 0.30),
    (10.30, 8.70, 2.70, 0.95, 1.00),
    (10.05, 8.20, 3.00, 1.60, 1.70),
    (8.90, 7.00, 3.10, 1.85, 1.90),
    (7.00, 5.50, 2.90, 1.70, 1.70),
    (5.00, 4.20, 2.20, 1.20, 1.20),
    (4.20, 3.90, 1.30, 0.50, 0.50),
]
# Socket, ring after ring: share of the way from the lid to the back of the eye, distance from its centre.
_SOCKET = [(0.0, 1.45), (0.12, 1.46), (0.3, 1.5), (0.55, 1.6), (0.85, 1.6)]
# Ear: where it is hinged, and the directions of its plane.
_EAR_CENTER = np.array([7.35, 2.0, 0.5])
_EAR_UP, _EAR_BACK = np.array([0.14, 0.97, -0.2]), np.array([0.62, -0.02, -0.78])


def add_mouth_bag(head: HalfHead, upper_rim: Indices, lower_rim: Indices, across: Array) -> None:
    """Continue the lips inwards: a short contact zone, the backs of the lips, then a closed bag.

    Parameters
    ----------
    head : HalfHead
        Gains the vertices, and the faces of the part ``skin``.
    upper_rim, lower_rim : (N,) int
        The lips from the middle to the corner, which they share.
    across : (N,) float
        How far along that way they are, 0 to 1.
    """
    arch = (1 - across**2) ** 0.6
    skin = head.parts["skin"]
    rim = (np.array([head.points[k] for k in upper_rim]) + [head.points[k] for k in lower_rim]) / 2
    upper, lower = upper_rim.tolist(), lower_rim.tolist()
    rings = [(rim - [0, 0, 0.22], 0.045, 0.045)]
    for front, corner, width, above, under in _BAG:
        ring = np.column_stack([width * across, rim[:, 1], front + (corner - front) * across**2])
        rings.append((ring, above, under))
    for ring, above, under in rings:
        next_upper = head.add(ring + np.outer(above * arch, [0, 1, 0]))
        next_lower = [*head.add((ring - np.outer(under * arch, [0, 1, 0]))[:-1]), next_upper[-1]]
        # Seen from inside the mouth, so that the normals point into the bag.
        skin += strip(upper, next_upper) + strip(next_lower, lower)
        upper, lower = next_upper, next_lower
    skin += strip(upper, lower)


def add_socket(head: HalfHead, upper_rim: Indices, lower_rim: Indices) -> None:
    """Continue the lids inwards: the thickness of the lid, then along the eyeball to a closed socket.

    Parameters
    ----------
    head : HalfHead
        Gains the vertices, and the faces of the part ``skin``.
    upper_rim, lower_rim : (N,) int
        The lids from the inner to the outer corner, which they share.
    """
    skin = head.parts["skin"]
    upper, lower = upper_rim.tolist(), lower_rim.tolist()
    rays = [np.array([head.points[k] for k in rim]) - shape.EYE_CENTER for rim in (upper_rim, lower_rim)]
    for share, radius in _SOCKET:
        above, under = (shape.EYE_CENTER + radius * _swing_back(ray, share) for ray in rays)
        next_upper = head.add(above)
        next_lower = [next_upper[0], *head.add(under[1:-1]), next_upper[-1]]
        skin += strip(upper, next_upper) + strip(next_lower, lower)
        upper, lower = next_upper, next_lower
    skin += strip(upper, lower)


def _swing_back(rays: Array, share: float) -> Array:
    """Directions (N, 3) that went this share of the way from `rays` to the back, straight behind the eye."""
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    start = np.arccos(unit[:, 2])
    angle = start + share * (np.pi - start)
    side = unit[:, :2] / np.linalg.norm(unit[:, :2], axis=1, keepdims=True)
    return np.column_stack([np.sin(angle)[:, None] * side, np.cos(angle)])


class Ear:
    """The patch of the skin, rows x columns of vertices, that is drawn out into an ear.

    On the patch, a disc with axes (backwards, up) says where each vertex goes.
    """

    def __init__(self, patch: Indices) -> None:
        rows, columns = patch.shape
        up, back = np.meshgrid(np.linspace(1, -1, rows), np.linspace(-1, 1, columns), indexing="ij")
        self.patch = patch
        self.disc = np.stack([back * np.sqrt(1 - up**2 / 2), up * np.sqrt(1 - back**2 / 2)], axis=-1)
        self.border = self._around(patch)

    @staticmethod
    def _around(table: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([table[0, :-1], table[:-1, -1], table[-1, :0:-1], table[:0:-1, 0]])

    def root(self) -> Array:
        """Where the border of the patch meets the head."""
        back, up = self._around(self.disc).T
        return shape.project(_EAR_CENTER + np.column_stack([0 * up, 2.5 * up, -0.4 - 0.85 * back]), rounds=6)

    def place(self, disc: Array, size: float, lift: float) -> Array:
        """Points (N, 3) of an ear whose outline is the unit circle, at a height over its plane."""
        back, up = disc.T * size
        out = np.cross(_EAR_UP, _EAR_BACK)
        length = np.where(up > 0, 3.1, 2.7)
        width = np.where(back > 0, 2.25 + 0.45 * up, 0.55)  # the lobe is narrow
        rise = lift * (0.35 + 0.65 * ((back + 1) / 1.6).clip(0, 1))  # low where the ear meets the cheek
        return (
            _EAR_CENTER
            + np.outer(width * back, _EAR_BACK)
            + np.outer(length * up, _EAR_UP)
            + np.outer(rise, out / np.linalg.norm(out))
        )

    def add_to(self, head: HalfHead) -> None:
        """Rings from the root over the helix into the hollow, which the inside of the patch fills."""
        skin = head.parts["skin"]
        around = self._around(self.disc)
        ring = [int(vertex) for vertex in self.border]
        for size, lift in ((0.86, 0.05), (1.0, 0.3), (0.97, 0.6), (0.84, 0.6), (0.74, 0.25)):
            following = head.add(self.place(around, size, lift))
            skin += strip([*ring, ring[0]], [*following, following[0]])
            ring = following
        replaced = dict(zip(self.border.tolist(), ring, strict=True))
        inside = [[replaced.get(int(vertex), int(vertex)) for vertex in row] for row in self.patch]
        for disc, vertex in zip(
            self.disc[1:-1, 1:-1].reshape(-1, 2), self.patch[1:-1, 1:-1].flat, strict=True
        ):
            depth = 0.25 - 0.45 * (1 - float(np.hypot(*disc)))
            head.points[vertex] = self.place(disc[None], 0.74, depth)[0]
        for first, second in pairwise(inside):
            skin += strip(first, second)


def build_eye(head: HalfHead, rings: int = 12, sectors: int = 20) -> None:
    """A sphere whose pole looks forward."""
    polar = np.linspace(0, np.pi, rings + 1)[1:-1]
    turn = np.arange(sectors) * 2 * np.pi / sectors
    sphere = np.stack(
        [
            np.outer(np.sin(polar), np.cos(turn)),
            np.outer(np.sin(polar), np.sin(turn)),
            np.outer(np.cos(polar), np.ones(sectors)),
        ],
        axis=-1,
    )
    front = head.add(shape.EYE_CENTER[None] + [0, 0, shape.EYE_RADIUS])
    loops = [head.add(shape.EYE_CENTER + shape.EYE_RADIUS * loop) for loop in sphere]
    behind = head.add(shape.EYE_CENTER[None] - [0, 0, shape.EYE_RADIUS])
    closed = [front * (sectors + 1), *([*loop, loop[0]] for loop in loops), behind * (sectors + 1)]
    head.parts["eye"] = [face for k in range(rings) for face in strip(closed[k], closed[k + 1])]


def build_teeth(head: HalfHead, name: str, edge: float, height: float, front: float) -> None:
    """One arch of teeth: a tube along the jaw, notched between the teeth."""
    stations = np.linspace(0, 1, 22)
    section = np.array(
        [(0.0, 0.15), (0.06, 0.0), (-0.12, 0.0), (-0.3, 0.3), (-0.5, 1.0), (0.0, 1.0), (0.08, 0.5)]
    )
    loops: list[list[int]] = []
    for k, s in enumerate(stations):
        x = 2.5 * np.sin(1.35 * s) / np.sin(1.35)
        slope = np.array([1.0, -2 * 3.4 * x / 2.5**2])
        normal = np.array([-slope[1], slope[0]]) / np.hypot(*slope)  # out of the arch, in (x, z)
        notch = 0.07 if k % 3 == 0 else 0.0
        depth = (section[:, 0] - notch) * (1 + 0.7 * s)
        base = np.array([x, front - 3.4 * (x / 2.5) ** 2])
        flat = base + depth[:, None] * normal
        tall = edge + (section[:, 1] * (1 - 0.55 * s**2) + notch * (section[:, 1] < 0.2)) * height
        ring = np.column_stack([flat[:, 0], tall, flat[:, 1]])
        if k == 0:
            ring[:, 0] = 0
        loops.append(head.add(ring))
    faces: list[Face] = []
    for first, second in pairwise(loops):
        faces += strip([*first, first[0]], [*second, second[0]])
    end = loops[-1]
    faces += [(end[0], end[6], end[5]), (end[0], end[5], end[4], end[3]), (end[0], end[3], end[2], end[1])]
    head.parts[name] = faces if height < 0 else [face[::-1] for face in faces]
