"""The intrinsic Delaunay Laplacian: what robust-laplacian says, where both are defined, and finite elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import robust_laplacian
import trimesh
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import Delaunay

from raf_runtime.intrinsic import Triangulation, laplacian_and_mass

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


def pulled(subdivisions: int, seed: int = 0) -> tuple[Doubles, Ints]:
    """A closed surface of long thin triangles, none of whose quads has its corners on a circle."""
    ball = trimesh.creation.icosphere(subdivisions)
    points = np.asarray(ball.vertices) * [1.0, 1.0, 6.0]
    points += 0.02 * np.random.default_rng(seed).standard_normal(points.shape)
    return points, np.asarray(ball.faces, dtype=np.int64)


def off_diagonal(laplacian: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(laplacian - sparse.diags_array(laplacian.diagonal()))


def turns(points: Doubles, faces: Ints) -> int:
    before, after = Triangulation.of(points, faces), Triangulation.of(points, faces)
    after.make_delaunay()
    return int((before.length != after.length).sum())


@pytest.mark.parametrize("seed", range(3))
def test_is_that_of_robust_laplacian_on_closed_surfaces(seed: int) -> None:
    points, faces = pulled(3, seed)
    assert turns(points, faces) > 100
    laplacian, mass = laplacian_and_mass(points, faces)
    expected, areas = robust_laplacian.mesh_laplacian(points, faces)
    assert abs(laplacian - expected).max() < 1e-8 * abs(expected).max()
    np.testing.assert_allclose(mass, areas.diagonal(), rtol=1e-6)


def test_turning_makes_weights_positive() -> None:
    points, faces = pulled(3)
    triangulation = Triangulation.of(points, faces)
    sides = triangulation.sides
    assert (triangulation.cotangents(sides)[0].sum(axis=1) < -0.1).any()
    triangulation.make_delaunay()
    assert triangulation.cotangents(triangulation.sides)[0].sum(axis=1).min() > -1e-8
    laplacian, _ = laplacian_and_mass(points, faces)
    assert off_diagonal(laplacian).max() < 1e-8


def test_turning_keeps_the_surface() -> None:
    points, faces = pulled(3)
    triangulation = Triangulation.of(points, faces)
    every = np.arange(3 * len(faces)).reshape(-1, 3)
    area = triangulation.cotangents(every)[1][:, 0].sum()
    triangulation.make_delaunay()
    assert triangulation.cotangents(every)[1][:, 0].sum() == pytest.approx(area, rel=1e-9)
    # Every side still knows its edge, and the edge its two sides.
    assert (
        triangulation.edge.ravel()[triangulation.sides] == np.arange(len(triangulation.length))[:, None]
    ).all()
    # Lengths of the sides of a triangle belong to its corners.
    ends = np.sort(triangulation.corner[:, [[1, 2], [2, 0], [0, 1]]].reshape(-1, 2), axis=1)
    order = np.argsort(triangulation.edge.ravel(), kind="stable").reshape(-1, 2)
    assert (ends[order[:, 0]] == ends[order[:, 1]]).all()


def test_a_linear_function_on_a_plane_is_harmonic_inside() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    flat = np.column_stack([grid + 0.2 * rng.uniform(-1, 1, grid.shape), np.zeros(len(grid))])
    # Anything but Delaunay, once the points are where they were.
    faces = Delaunay(flat[:, :2] * [1, 3]).simplices.astype(np.int64)
    assert turns(flat, faces) > 50
    laplacian, _ = laplacian_and_mass(flat, faces)
    # Away from the slivers along the convex hull.
    inside = ((grid > 2.5) & (grid < 16.5)).all(axis=1)
    assert np.abs(laplacian @ (flat @ [1.0, 2.0, 0.0]))[inside].max() < 1e-3


def test_winding_does_not_matter() -> None:
    points, faces = pulled(2)
    some = faces.copy()
    some[::3] = some[::3, ::-1]
    expected, mass = laplacian_and_mass(points, faces)
    found, areas = laplacian_and_mass(points, some)
    assert abs(found - expected).max() < 1e-9 * abs(expected).max()
    np.testing.assert_allclose(areas, mass, rtol=1e-9)


def test_scale_does_not_matter() -> None:
    points, faces = pulled(2)
    expected, mass = laplacian_and_mass(points, faces)
    found, areas = laplacian_and_mass(1000 * points + 5, faces)
    assert abs(found - expected).max() < 1e-7 * abs(expected).max()
    np.testing.assert_allclose(areas, 1e6 * mass, rtol=1e-7)


def test_edges_of_three_faces_and_rims_stay() -> None:
    # Three sheets on one edge; each sheet so blunt there that the edge would be turned.
    points = np.array([[0, -1, 0], [0, 1, 0], [0.1, 0, 0], [-0.1, 0, 0], [0, 0, 0.1]], dtype=float)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    assert turns(points, faces) == 0
    assert turns(points, faces[:2]) == 1
    laplacian, mass = laplacian_and_mass(points, faces)
    assert np.isfinite(laplacian.data).all() and (mass > 0).all()
    assert np.abs(laplacian.sum(axis=1)).max() < 1e-9


def test_collapsed_triangles_give_finite_weights() -> None:
    points, faces = pulled(2)
    points[faces[::7, 0]] = points[faces[::7, 1]]
    points[5] = points[faces[0, 0]]
    laplacian, mass = laplacian_and_mass(points, faces)
    assert np.isfinite(laplacian.data).all() and np.isfinite(mass).all() and (mass > 0).all()
    lowest = np.linalg.eigvalsh(laplacian.toarray())[0]
    assert lowest > -1e-6 * abs(laplacian).max()
