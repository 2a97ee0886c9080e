"""A head is cut across the neck for the network, and what is below follows the edge of the cut."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

import raf_sdk
from raf_runtime.neck import LOWEST, REACH, UP, above_neck, cut
from raf_runtime.surface import Surface
from raf_sdk._rigger import SHIPPED_MODEL
from raf_sdk.io import read_mesh

EXAMPLE = SHIPPED_MODEL.parent / "example_head.obj"

Doubles = NDArray[np.float64]


def column(x: float = 0.0) -> trimesh.Trimesh:
    """A neck around the Y axis, from 1 above the plane to 3 below, all in rings of 32."""
    heights = LOWEST + np.arange(10, -31, -1) / 10
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    vertices = [[x + 0.5 * np.cos(a), y, 0.5 * np.sin(a)] for y in heights for a in angle]
    ring = np.arange(32)
    faces = [
        np.column_stack([32 * i + ring, 32 * i + (ring + 1) % 32, 32 * (i + 1) + (ring + 1) % 32])
        for i in range(40)
    ]
    faces += [
        np.column_stack([32 * i + ring, 32 * (i + 1) + (ring + 1) % 32, 32 * (i + 1) + ring])
        for i in range(40)
    ]
    return trimesh.Trimesh(vertices, np.concatenate(faces), process=False)


def test_what_is_above_the_plane_is_kept_and_what_is_below_follows_the_edge() -> None:
    mesh = column()
    surface = Surface.build(mesh.vertices, mesh.faces)
    head, neck = cut(surface, surface.vertices)
    assert above_neck(head.vertices).all()
    motion = np.arange(3 * len(head.vertices), dtype=np.float32).reshape(1, -1, 3)
    moved = neck.follow(motion)
    kept = np.isin(np.arange(len(mesh.vertices)), neck.rest, invert=True)
    assert np.array_equal(head.vertices, surface.vertices[kept])
    assert np.array_equal(moved[:, kept], motion)
    # Down from the edge it fades, without a step, and ends.
    share = np.linalg.norm(neck.follow(np.ones_like(motion)), axis=2)[0] / 3**0.5
    depth = LOWEST - mesh.vertices @ UP
    assert (share[~kept & (depth < 0.1)] > 0.75).all()
    assert (share[depth > 1.2 * REACH] == 0).all()
    along = share.reshape(41, 32)
    assert (np.diff(along, axis=0) <= 1e-6).all()
    assert np.abs(np.diff(along, axis=0)).max() < 0.35


def test_nothing_follows_another_component() -> None:
    """A collar around a neck stays, though the neck is nearer to it than its own edge."""
    neck, collar = column(), column()
    collar.vertices = collar.vertices * [1.1, 1, 1.1]
    low = collar.faces[(collar.vertices[collar.faces, 1] < LOWEST - 0.5).all(axis=1)]
    both = trimesh.util.concatenate([neck, trimesh.Trimesh(collar.vertices, low, process=False)])
    surface = Surface.build(both.vertices, both.faces)
    head, found = cut(surface, surface.vertices)
    moved = found.follow(np.ones((1, len(head.vertices), 3), np.float32))[0]
    collars = surface.component == 1
    assert not moved[collars].any()
    assert moved[~collars & (surface.vertices @ UP < LOWEST)].any()


def test_a_mask_is_left_whole() -> None:
    ball = trimesh.creation.icosphere(3)
    surface = Surface.build(ball.vertices, ball.faces)
    head, neck = cut(surface, surface.vertices)
    assert head is surface
    motion = np.ones((2, len(ball.vertices), 3), np.float32)
    moved = neck.follow(motion)
    assert np.array_equal(moved, motion)
    assert not np.shares_memory(moved, motion)


def test_a_mesh_that_is_all_below_is_left_whole() -> None:
    ball = trimesh.creation.icosphere(3)
    surface = Surface.build(ball.vertices, ball.faces)
    head, _ = cut(surface, surface.vertices - [0, 9, 0])
    assert head is surface


@pytest.fixture(scope="module")
def rigger() -> raf_sdk.Rigger:
    return raf_sdk.Rigger(device="cpu")


def test_the_throat_does_not_tear(rigger: raf_sdk.Rigger) -> None:
    """Under jawOpen, edges across the cut of the example change their length hardly more than edges above it do."""
    mesh = read_mesh(EXAMPLE)
    prepared = rigger.prepare(mesh)
    points = prepared.head.frame.to_canonical(mesh.vertices)
    opened = points + rigger.rig(prepared).deltas[rigger.names.index("jawOpen")] @ (
        prepared.head.frame.rotation.T / prepared.head.frame.unit
    )
    edges = np.unique(np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    start, end = edges.T
    before = np.linalg.norm(points[start] - points[end], axis=1)
    change = np.abs(np.linalg.norm(opened[start] - opened[end], axis=1) - before)
    height = points @ UP
    crossing = (height[start] > LOWEST) != (height[end] > LOWEST)
    above = (np.minimum(height[start], height[end]) > LOWEST) & (
        np.maximum(height[start], height[end]) < LOWEST + 1
    )
    assert crossing.sum() > 20
    # 1.2 measured; 3 where what is below stays.
    assert change[crossing].max() < 1.5 * change[above].max()
