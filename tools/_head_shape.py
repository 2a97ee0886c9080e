"""The solid that the example head is cut from: a signed distance of ellipsoids and round cones, in cm.

Y up, +Z front, mirror-symmetric: all functions take points with x >= 0. The origin is near the middle of the
head; the eyes are at y = 3.6, the mouth at y = -3.5, the chin at y = -8.3 and the crown at y = 15.7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EYE_CENTER = np.array([3.15, 3.6, 7.95])
EYE_RADIUS = 1.4
LID_RADIUS = 1.54
MOUTH_HEIGHT = -3.5
MOUTH_HALF_WIDTH = 2.55


def _ellipsoid(p: Array, center: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    q = (p - np.array(center)) / np.array(radii)
    length = np.linalg.norm(q, axis=1)
    slope = np.linalg.norm(q / np.array(radii), axis=1)
    return length * (length - 1) / np.maximum(slope, 1e-9)


def _cone(
    p: Array, start: tuple[float, ...], end: tuple[float, ...], radius: float, end_radius: float
) -> Array:
    a, axis = np.array(start), np.array(end) - np.array(start)
    t = ((p - a) @ axis / (axis @ axis)).clip(0, 1)
    return np.linalg.norm(p - a - t[:, None] * axis, axis=1) - radius - (end_radius - radius) * t


def _join(a: Array, b: Array, blend: float) -> Array:
    """Smooth union; `blend` is the width of the fillet."""
    return np.minimum(a, b) - blend * (1 - np.abs(a - b) / blend).clip(0) ** 2 / 4


def _carve(a: Array, b: Array, blend: float) -> Array:
    """Smooth difference: `a` without `b`."""
    return -_join(-a, b, blend)


def _lip(p: Array, height: float, front: float, radius: float) -> Array:
    """A roll along the dental arch that thins out towards the corner of the mouth."""
    end = MOUTH_HALF_WIDTH + 0.3
    s = (p[:, 0] / end).clip(0, 1)
    thickness = radius * np.sqrt(1 - s**2) + 0.02
    y = height + (MOUTH_HEIGHT - height) * s**2
    z = front - 1.45 * s**2
    beyond = (p[:, 0] - end).clip(0)
    return np.sqrt((p[:, 1] - y) ** 2 + (p[:, 2] - z) ** 2 + beyond**2) - thickness


def distance(p: Array) -> Array:
    """Signed distance (N,), approximate away from the surface, of points (N, 3) with x >= 0."""
    # Masses.
    d = _ellipsoid(p, (0, 6.9, 0.7), (7.6, 8.8, 9.2))
    d = _join(d, _ellipsoid(p, (0, 6.6, 4.2), (6.7, 6.2, 6.5)), 2.0)
    d = _join(d, _ellipsoid(p, (0, 0.2, 4.0), (6.5, 8.2, 6.3)), 1.5)
    d = _join(d, _cone(p, (0, -6.2, 7.2), (4.4, -3.4, 2.2), 1.9, 1.2), 3.0)
    d = _join(d, _ellipsoid(p, (0, -6.5, 8.7), (2.5, 1.8, 1.9)), 2.0)
    d = _join(d, _cone(p, (0, 0, -1.8), (0, -16, -3.0), 5.0, 5.6), 2.0)
    d = _join(d, _ellipsoid(p, (4.4, 0.9, 6.6), (2.2, 1.7, 2.1)), 2.0)
    d = _join(d, _ellipsoid(p, (3.0, -2.4, 7.1), (2.3, 2.8, 2.4)), 1.8)
    d = _join(d, _ellipsoid(p, (0, -3.0, 8.35), (3.3, 3.0, 2.6)), 1.2)
    d = _join(d, _cone(p, (0.9, 5.7, 9.7), (5.0, 5.6, 7.7), 0.75, 0.6), 1.4)
    # Eyes.
    d = _carve(d, _ellipsoid(p, (3.1, 3.7, 10.7), (2.1, 1.25, 1.5)), 1.2)
    d = _join(d, np.linalg.norm(p - EYE_CENTER, axis=1) - LID_RADIUS, 0.35)
    # Nose.
    d = _join(d, _cone(p, (0, 5.2, 9.9), (0, 0.7, 12.2), 0.55, 0.7), 1.1)
    d = _join(d, _ellipsoid(p, (0, 0.3, 12.1), (1.0, 0.85, 0.95)), 0.8)
    d = _join(d, _ellipsoid(p, (1.1, -0.25, 11.1), (0.68, 0.7, 1.05)), 0.55)
    d = _carve(d, _ellipsoid(p, (0.65, -1.05, 11.55), (0.36, 0.4, 0.6)), 0.35)
    # Mouth.
    d = _carve(d, _cone(p, (0, -1.7, 11.75), (0, -2.35, 11.7), 0.2, 0.3), 0.5)
    d = _join(d, _lip(p, -2.95, 10.9, 0.52), 0.22)
    d = _join(d, _lip(p, -4.1, 10.74, 0.59), 0.22)
    return d


def gradient(p: Array) -> Array:
    """Unit outward direction (N, 3)."""
    step = 1e-4
    sides = [distance(p + step * axis) - distance(p - step * axis) for axis in np.eye(3)]
    slope = np.stack(sides, axis=1)
    return slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)


def project(p: Array, rounds: int = 4) -> Array:
    """Move points (N, 3) near the surface onto it; points of the plane x = 0 stay in it."""
    middle = p[:, 0] == 0
    for _ in range(rounds):
        p = p - distance(p)[:, None] * gradient(p)
        p[middle, 0] = 0
        p[:, 0] = np.abs(p[:, 0])
    return p


def cast(origins: Array, directions: Array) -> Array:
    """First point (N, 3) of the surface met when coming along each ray from far away towards its origin."""
    reach = np.full(len(origins), 30.0)
    for _ in range(200):
        reach = np.maximum(reach - 0.6 * distance(origins + reach[:, None] * directions), 0)
    return origins + reach[:, None] * directions
