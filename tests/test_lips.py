"""Lips that mouthClose leaves apart are brought together, and nothing else is changed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from raf_runtime.lips import around_the_mouth, seal_lips

POSES = ("jawOpen", "mouthClose", "mouthSmileLeft")
SLIT, WIDTH = -1.1, 0.4  # height and half width of a mouth in a flat canonical face


def face() -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Vertices of a flat face with a slit, whether each is under it, and whether each is on its rim."""
    grid = np.linspace(-1, 1, 41)
    x, y = (axis.ravel() for axis in np.meshgrid(grid, SLIT + grid))
    inside = (np.abs(y - SLIT) < 0.01) & (np.abs(x) < WIDTH)
    points = np.stack([x, y, np.zeros_like(x)], axis=1)
    points = np.concatenate([points, points[inside]])
    rim = np.concatenate([inside, np.ones(int(inside.sum()), dtype=bool)])
    under = points[:, 1] < SLIT - 0.01
    under[len(x) :] = True
    return points, under, rim


def jaw(points: NDArray[np.float64], under: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What is under the slit goes down, less towards the corners of the mouth and beyond."""
    motion = np.zeros((len(points), 3), dtype=np.float32)
    motion[:, 1] = -0.8 * under * np.clip(1.3 - np.abs(points[:, 0]), 0, 1)
    return motion


def moved(close: float) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float32]]:
    """Points, rim and displacements of a face whose mouthClose takes back a share of its jawOpen."""
    points, under, rim = face()
    opened = jaw(points, under)
    return points, rim, np.stack([opened, -close * opened, 0.3 * opened])


@pytest.mark.parametrize("close", [0.0, 0.2, 0.7])
def test_lips_that_stay_apart_come_together(close: float) -> None:
    points, rim, displacements = moved(close)
    before = displacements.copy()
    seal_lips(points, displacements, POSES, np.arange(len(points)))
    closed = displacements[0] + displacements[1]
    assert np.abs(closed[rim]).max() < 0.03 < np.abs(before[0, rim]).max()
    chin = points[:, 1] < SLIT - 0.8
    assert np.abs(displacements[1, chin]).max() < 0.1 * np.abs(before[0, chin]).max()
    np.testing.assert_array_equal(displacements[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("close", [0.92, 1.0, 1.3])
def test_lips_that_nearly_meet_are_left_to_the_network(close: float) -> None:
    points, _, displacements = moved(close)
    before = displacements.copy()
    seal_lips(points, displacements, POSES, np.arange(len(points)))
    np.testing.assert_array_equal(displacements, before)


def test_a_closed_surface_has_no_lips() -> None:
    points, _, displacements = moved(0.0)
    displacements[0, :, 1] = -0.4 * np.clip(SLIT + 0.5 - points[:, 1], 0, 1)  # stretched, not parted
    before = displacements.copy()
    seal_lips(points, displacements, POSES, np.arange(len(points)))
    np.testing.assert_array_equal(displacements, before)


@pytest.mark.parametrize("poses", [("jawOpen", "jawLeft", "jawRight"), ("mouthClose", "jawLeft", "jawRight")])
def test_nothing_is_done_without_both_shapes(poses: tuple[str, ...]) -> None:
    points, _, displacements = moved(0.0)
    before = displacements.copy()
    seal_lips(points, displacements, poses, np.arange(len(points)))
    np.testing.assert_array_equal(displacements, before)


def test_no_mouth_no_lips() -> None:
    points, _, displacements = moved(0.0)
    before = displacements.copy()
    around = around_the_mouth(points + np.array([0, 5, 0]), np.arange(len(points)))
    assert len(around) == 0
    seal_lips(points, displacements, POSES, around)
    np.testing.assert_array_equal(displacements, before)
    assert len(around_the_mouth(points, np.arange(len(points)))) > 1000
