"""Strong smooth warps of space: faces that no rig of the training data has.

A rig baked through a warp stays a rig: with the warp w, the shape d of vertex x becomes w(x + d) - w(x).
Everything is in canonical coordinates: Y up, +Z out of the face, the origin between eyes and mouth, a unit about
4 cm on an adult.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Warp", "bake", "draw_warp"]

Doubles = NDArray[np.float64]

# No point may be pushed further, over the radius of the bump that pushes it: beyond about 0.6 a bump folds.
STEEPEST: Final = 0.4


@dataclass(frozen=True, slots=True)
class Warp:
    """Gaussian bumps that push or swell, after a scaling along each axis that varies with height.

    Attributes
    ----------
    scale : (3,) float64
        Of the axes.
    taper : float
        Relative growth of the width per unit of height.
    centre : (B, 3) float64
        Of the bumps.
    radius : (B,) float64
    push : (B, 3) float64
        Displacement of the centre of each bump.
    swell : (B,) float64
        Relative growth around the centre of each bump.
    """

    scale: Doubles
    taper: float
    centre: Doubles
    radius: Doubles
    push: Doubles
    swell: Doubles

    def __call__(self, points: NDArray[np.floating]) -> Doubles:
        """Warp points (..., 3)."""
        flat = np.asarray(points, np.float64).reshape(-1, 3)
        offset = flat[:, None] - self.centre
        near = np.exp(-0.5 * np.square(offset).sum(2) / self.radius**2)
        moved = flat + near @ self.push + ((near * self.swell)[..., None] * offset).sum(1)
        width = np.exp(self.taper * np.clip(moved[:, 1], -4, 4))
        moved = moved * self.scale
        moved[:, 0] *= width
        return moved.reshape(np.shape(points))


def draw_warp(rng: np.random.Generator, strength: float = 1.0) -> Warp:
    """Draw a warp: features of a stylised face, and bumps anywhere.

    Parameters
    ----------
    rng
        The only source of chance.
    strength : float
        Factor of all that varies; 0 is the identity.
    """
    bumps: list[tuple[Doubles, float, Doubles, float]] = []

    def bump(centre: list[float], radius: float, push: list[float], swell: float, both: bool) -> None:
        pushed = strength * np.array(push)
        most = STEEPEST * radius
        pushed *= min(1.0, most / max(float(np.linalg.norm(pushed)), 1e-9))
        for side in (1.0, -1.0) if both else (1.0,):
            mirror = np.array([side, 1.0, 1.0])
            bumps.append((np.array(centre) * mirror, radius, pushed * mirror, strength * swell))

    normal, uniform = rng.normal, rng.uniform
    if rng.random() < 0.5:  # eyes: larger or smaller, apart, high
        size = uniform(-0.2, 0.55)
        bump(
            [0.85, 0.7, 0.3], uniform(0.5, 0.9), [normal(0, 0.15), normal(0, 0.1), normal(0, 0.1)], size, True
        )
    if rng.random() < 0.5:  # muzzle or flat face
        bump([0, -0.9, 0.9], uniform(1.0, 1.7), [0, normal(0, 0.2), uniform(-0.3, 0.8)], 0.0, False)
    if rng.random() < 0.4:  # nose
        bump(
            [0, -0.1, 1.2], uniform(0.5, 0.9), [0, normal(0, 0.2), normal(0, 0.3)], uniform(-0.3, 0.3), False
        )
    if rng.random() < 0.4:  # mouth: wider or smaller
        bump([0, -1.1, 0.8], uniform(0.7, 1.2), [0, normal(0, 0.15), 0], uniform(-0.25, 0.35), False)
    if rng.random() < 0.5:  # chin and jaw
        bump([0, -2.4, 0.3], uniform(0.9, 1.6), [0, normal(-0.1, 0.4), normal(0, 0.3)], normal(0, 0.1), False)
    if rng.random() < 0.5:  # cheeks
        bump([1.5, -0.7, 0], uniform(0.8, 1.4), [normal(0, 0.3), 0, normal(0, 0.15)], 0.0, True)
    if rng.random() < 0.5:  # brow and forehead
        bump([0.6, 1.6, 0.4], uniform(0.8, 1.6), [0, normal(0, 0.3), normal(0, 0.3)], 0.0, True)
    for _ in range(rng.integers(0, 5)):  # anything, mostly on both sides
        centre = normal([0, 0, -0.5], 1.5)
        push = (0.25 * rng.standard_normal(3)).tolist()
        bump(centre.tolist(), uniform(0.7, 2.2), push, 0.0, bool(rng.random() < 0.85))
    if not bumps:
        bump([0, 0, 0], 1.0, [0, 0, 0], 0.0, False)
    centre, radius, push, swell = (np.array(column) for column in zip(*bumps, strict=True))
    scale = np.exp(np.clip(strength * rng.normal(0, [0.12, 0.10, 0.12]), -0.3, 0.3))
    return Warp(scale, strength * float(normal(0, 0.04)), centre, radius, push, swell)


def bake(warp: Warp, vertices: Doubles, deltas: NDArray[np.float32]) -> tuple[Doubles, NDArray[np.float32]]:
    """Carry a head (V, 3) and its shapes (P, V, 3) through a warp."""
    warped = warp(vertices)
    baked = np.zeros_like(deltas)
    pose, vertex = np.nonzero(deltas.any(axis=2))
    moved = warp(vertices[vertex] + deltas[pose, vertex])
    baked[pose, vertex] = moved - warped[vertex]
    return warped, baked
