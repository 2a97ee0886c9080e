"""The stand-in for large surfaces, and eyeballs that move rigidly."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from raf_runtime.coarse import Coarse
from raf_runtime.rigid import move_rigidly, round_parts
from raf_runtime.surface import Surface


def test_a_coarse_surface_carries_a_smooth_motion() -> None:
    mesh = trimesh.creation.icosphere(6)
    bead = trimesh.creation.icosphere(0, radius=1e-3).apply_translation((0, 0, 1.5))
    both = trimesh.util.concatenate([mesh, bead])
    surface = Surface.build(both.vertices, both.faces)
    coarse = Coarse.build(surface.vertices, surface.faces, surface.component, 4000)
    assert 2000 < len(coarse.vertices) < 8000
    assert np.array_equal(np.unique(coarse.faces), np.arange(len(coarse.vertices)))
    motion = np.stack([np.sin(coarse.vertices), np.cos(2 * coarse.vertices)]).astype(np.float32)
    expected = np.stack([np.sin(surface.vertices), np.cos(2 * surface.vertices)])
    error = np.abs(coarse.to_fine(motion) - expected)[:, surface.component == 0]
    assert error.max() < 0.1
    assert error.mean() < 0.01
    assert np.isfinite(coarse.to_fine(motion)).all()


def test_touching_walls_stay_apart_in_the_coarse_surface() -> None:
    mesh = trimesh.creation.icosphere(5)
    inner = mesh.copy()
    inner.invert()
    both = trimesh.util.concatenate([mesh, inner])
    surface = Surface.build(both.vertices, both.faces)
    coarse = Coarse.build(surface.vertices, surface.faces, surface.component, 2000)
    still_and_moving = np.zeros((1, len(coarse.vertices), 3), np.float32)
    still_and_moving[0, coarse.component == 1] = 1
    fine = coarse.to_fine(still_and_moving)[0]
    first = surface.component[0]
    sides = fine[surface.component == first], fine[surface.component != first]
    assert {float(side.min()) for side in sides} == {float(side.max()) for side in sides} == {0.0, 1.0}


def test_eyeballs_are_found_and_turned_not_squashed() -> None:
    face = trimesh.creation.icosphere(3, radius=3)
    eye = trimesh.creation.icosphere(2, radius=0.3).apply_translation((0.8, 0, 3))
    box = trimesh.creation.box((0.5, 0.5, 0.5)).subdivide().subdivide().apply_translation((0, -2, 3))
    both = trimesh.util.concatenate([face, eye, box])
    surface = Surface.build(both.vertices, both.faces)
    parts = round_parts(surface.vertices, surface.component)
    assert len(parts) == 1
    (part,) = parts
    assert len(part) == len(eye.vertices)
    rng = np.random.default_rng(0)
    turn = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    centre = surface.vertices[part].mean(axis=0)
    clean = (surface.vertices[part] - centre) @ turn.T + centre - surface.vertices[part] + [0.01, 0, 0]
    noisy = np.zeros((2, len(surface.vertices), 3), np.float32)
    noisy[0, part] = clean + 0.02 * rng.standard_normal(clean.shape)
    noisy[1] = 0.5
    before = noisy.copy()
    move_rigidly(surface.vertices, noisy, parts)
    assert np.abs(noisy[0, part] - clean).max() < 0.02
    moved = surface.vertices[part] + noisy[0, part]
    lengths = np.linalg.norm(moved - moved.mean(axis=0), axis=1)
    assert np.allclose(lengths, np.linalg.norm(surface.vertices[part] - centre, axis=1), atol=1e-5)
    assert np.allclose(noisy[1, part], 0.5, atol=1e-6)
    others = np.setdiff1d(np.arange(len(surface.vertices)), part)
    assert np.array_equal(noisy[:, others], before[:, others])
