"""The stand-in for large surfaces, and rigid motions."""

from __future__ import annotations

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from raf_runtime.coarse import Coarse
from raf_runtime.rigid import nearest_rigid
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


def test_the_nearest_rigid_motion_takes_noise_away_and_keeps_shapes() -> None:
    rng = np.random.default_rng(0)
    rest = rng.standard_normal((200, 3))
    turn = Rotation.from_euler("xyz", [20, -5, 12], degrees=True).as_matrix()
    centre = rest.mean(axis=0)
    clean = (rest - centre) @ turn.T + centre - rest + [0.01, 0, 0]
    noisy = np.stack([clean + 0.02 * rng.standard_normal(clean.shape), np.full_like(rest, 0.5), -2 * rest])
    rigid = nearest_rigid(rest, noisy.astype(np.float32))
    assert np.abs(rigid[0] - clean).max() < 0.02
    assert np.allclose(rigid[1], 0.5, atol=1e-6)
    # Even where a reflection would be nearer, shapes and handedness are kept.
    for displacement in rigid:
        moved = rest + displacement
        edges, moved_edges = rest[1:4] - rest[0], moved[1:4] - moved[0]
        assert np.allclose(edges @ edges.T, moved_edges @ moved_edges.T, atol=1e-6)
        assert np.linalg.det(edges) * np.linalg.det(moved_edges) > 0
