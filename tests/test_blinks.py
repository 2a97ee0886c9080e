"""Blinks that fall short close; all else is left alone."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from raf_runtime.blinks import close_blinks, find_lids
from raf_runtime.discs import find_discs
from raf_runtime.eyes import Eye, find_eyes

CENTRE, RADIUS = np.array([0.75, 0.5, -0.25]), 0.32
POSES = ("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "jawOpen")
ROWS, COLUMNS = 12, 31


def lid(low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A strip around the ball between two heights in degrees, its first row at the first; corners meet at -5."""
    turn = np.radians(np.linspace(-70, 70, COLUMNS))
    share = np.linspace(0, 1, ROWS)[:, None]
    near = -5 + (low + 5) * np.cos(turn * 90 / 70)
    height = np.radians(near * (1 - share) + high * share)
    directions = np.stack(
        [np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)], axis=-1
    )
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    corner, right, up, across = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack([corner, right, across], -1), np.stack([corner, across, up], -1)])
    return 1.04 * RADIUS * directions.reshape(-1, 3), faces.reshape(-1, 3)


class Face:
    """An eyeball and two lids; a blink takes the upper one a share of the way to the lower."""

    def __init__(self, share: float) -> None:
        ball = trimesh.creation.icosphere(3, radius=RADIUS)
        upper, lower = lid(20, 60), lid(-25, -50)
        first, second = len(ball.vertices), len(ball.vertices) + ROWS * COLUMNS
        # A lash: a part of its own on the border of the upper lid.
        lash = upper[0][10:20] + np.array([0, 0, 0.01])
        self.points = np.concatenate([ball.vertices, upper[0], lower[0], lash]) + CENTRE
        self.faces = np.concatenate([ball.faces, upper[1] + first, lower[1] + second]).astype(np.int64)
        self.upper, self.lower = np.arange(first, second), np.arange(second, second + ROWS * COLUMNS)
        self.lash = np.arange(second + ROWS * COLUMNS, len(self.points))
        self.moved = np.zeros((len(POSES), len(self.points), 3), np.float32)
        fading = (1 - np.repeat(np.linspace(0, 1, ROWS), COLUMNS))[:, None]
        way = lower[0].reshape(ROWS, COLUMNS, 3)[0] - upper[0].reshape(ROWS, COLUMNS, 3)[0]
        self.moved[0, self.upper] = share * fading * np.tile(way, (ROWS, 1))
        self.moved[0, self.lash] = self.moved[0, self.upper[10:20]]
        self.moved[1:] = self.moved[0] / 2
        eye = Eye(np.arange(first), CENTRE, "Left")
        skin = np.arange(first, second + ROWS * COLUMNS)
        self.lids = find_lids(self.points, self.faces, skin, [eye])

    def gap(self) -> float:
        """What is left of the opening."""
        borders = [self.points[part[:COLUMNS], 1] for part in (self.upper, self.lower)]
        motions = [self.moved[0, part[:COLUMNS], 1] for part in (self.upper, self.lower)]
        rest, now = borders[0] - borders[1], (borders[0] + motions[0]) - (borders[1] + motions[1])
        return float(now.clip(min=0).sum() / rest.sum())


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_blink_that_falls_short_closes(share: float) -> None:
    face = Face(share)
    before = face.moved.copy()
    assert face.gap() == pytest.approx(1 - share, abs=0.01)
    close_blinks(face.points, face.moved, POSES, face.lids)
    assert face.gap() < 0.04
    # Further, not elsewhere, and no further than it must.
    ways = np.linalg.norm(face.moved[0, face.upper], axis=1), np.linalg.norm(before[0, face.upper], axis=1)
    assert (ways[0] >= ways[1] - 1e-6).all() and ways[0].max() < 1.25 * ways[1].max() / share
    along = np.einsum("nc,nc->n", face.moved[0, face.upper], before[0, face.upper])
    assert along == pytest.approx(ways[0] * ways[1], rel=1e-3, abs=1e-5)
    # The lash stays on the lid.
    assert face.moved[0, face.lash] == pytest.approx(face.moved[0, face.upper[10:20]], abs=0.01)
    assert np.array_equal(face.moved[1:], before[1:])
    assert not face.moved[0, : face.upper[0]].any() and not face.moved[0, face.lower].any()


@pytest.mark.parametrize("corner", [slice(0, 10), slice(21, None)])
def test_a_corner_that_a_blink_does_not_reach_closes(corner: slice) -> None:
    face = Face(1.0)
    face.moved[0, face.upper.reshape(ROWS, COLUMNS)[:, corner]] *= 0.05
    assert face.gap() > 0.15
    close_blinks(face.points, face.moved, POSES, face.lids)
    assert face.gap() < 0.04
    assert not face.moved[0, : face.upper[0]].any() and not face.moved[0, face.lower].any()


def test_the_white_behind_an_eye_that_is_no_ball_is_no_lid() -> None:
    face = Face(0.6)
    disc = np.arange(face.upper[0])
    face.points[disc, 2] = CENTRE[2] + 0.7 * RADIUS
    white = trimesh.creation.cylinder(0.9 * RADIUS, 0.01, sections=64).subdivide().subdivide()
    count, size = len(face.points), len(white.vertices)
    points = np.concatenate([face.points, white.vertices + CENTRE + [0, 0, 0.4 * RADIUS]])
    faces = np.concatenate([face.faces, white.faces + count])
    skin = np.concatenate([face.upper, face.lower, np.arange(count, count + size)])
    moved = np.concatenate([face.moved, np.zeros((len(POSES), size, 3), np.float32)], axis=1)
    close_blinks(points, moved, POSES, find_lids(points, faces, skin, [], find_discs(points, [disc], [])))
    face.moved = moved
    assert face.gap() < 0.04
    assert not moved[0, count:].any()


def test_lids_close_over_an_eye_that_is_no_ball() -> None:
    face = Face(0.6)
    disc = np.arange(face.upper[0])
    # The ball becomes a disc, as cartoons have them, with a pupil on it.
    face.points[disc, 2] = CENTRE[2] + 0.7 * RADIUS
    pupil = np.arange(len(face.points), len(face.points) + 8)
    turn = np.linspace(0, 2 * np.pi, 8)
    around = CENTRE + 0.1 * np.stack([np.cos(turn), np.sin(turn), 3 * np.ones(8)], axis=-1)
    points = np.concatenate([face.points, around])
    assert not find_eyes(points, [disc, pupil])
    (found,) = find_discs(points, [face.upper, disc, pupil], [])
    assert found.eye.side == "Left" and np.array_equal(found.eye.vertices, np.concatenate([disc, pupil]))
    assert not find_discs(points, [disc, pupil], [found.eye])
    moved = np.concatenate([face.moved, np.zeros((len(POSES), 8, 3), np.float32)], axis=1)
    skin = np.concatenate([face.upper, face.lower])
    close_blinks(points, moved, POSES, find_lids(points, face.faces, skin, [], [found]))
    face.moved = moved
    assert face.gap() < 0.04


def test_the_inside_of_a_socket_is_no_lid() -> None:
    face = Face(0.6)
    socket = trimesh.creation.icosphere(3, radius=0.4 * RADIUS)
    count, size = len(face.points), len(socket.vertices)
    face.points = np.concatenate([face.points, socket.vertices + CENTRE])
    face.faces = np.concatenate([face.faces, socket.faces + count])
    face.moved = np.concatenate([face.moved, np.zeros((len(POSES), size, 3), np.float32)], axis=1)
    skin = np.concatenate([face.upper, face.lower, np.arange(count, count + size)])
    lids = find_lids(face.points, face.faces, skin, [face.lids[0].eye])
    close_blinks(face.points, face.moved, POSES, lids)
    assert face.gap() < 0.04


def test_half_a_ball_that_is_closed_behind_is_an_eye() -> None:
    ball = trimesh.creation.icosphere(3, radius=RADIUS)
    half = ball.vertices[ball.vertices[:, 2] > -1e-9]
    closed = np.concatenate([half, np.zeros((1, 3))]) + CENTRE
    (eye,) = find_eyes(closed, [np.arange(len(closed))])
    assert eye.side == "Left" and eye.centre == pytest.approx(CENTRE, abs=0.02 * RADIUS)
    # Half of a bowl of some thickness is none.
    bowl = np.concatenate([half, 0.6 * half]) + CENTRE
    assert not find_eyes(bowl, [np.arange(len(bowl))])


def test_lashes_that_go_further_than_their_lid_are_not_stretched() -> None:
    face = Face(0.6)
    face.moved[0, face.lash] *= 2
    before = face.moved.copy()
    close_blinks(face.points, face.moved, POSES, face.lids)
    lash, lid = (
        np.linalg.norm((face.moved - before)[0, part], axis=1) for part in (face.lash, face.upper[10:20])
    )
    assert lid.min() > 0.05
    assert lash == pytest.approx(lid, rel=0.15)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_what_is_shut_or_hardly_moves_is_left_alone(share: float) -> None:
    face = Face(share)
    before = face.moved.copy()
    close_blinks(face.points, face.moved, POSES, face.lids)
    assert np.array_equal(face.moved, before)


def test_a_rig_without_blinks_and_an_eye_without_lids_stay() -> None:
    face = Face(0.7)
    before = face.moved.copy()
    close_blinks(face.points, face.moved[2:], POSES[2:], face.lids)
    bare = find_lids(face.points, face.faces[: face.upper[0]], face.upper, [face.lids[0].eye])
    close_blinks(face.points, face.moved, POSES, bare)
    assert np.array_equal(face.moved, before)
