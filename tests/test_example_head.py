"""The head that the package ships, as users get it."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

from raf_sdk._mesh import Mesh
from raf_sdk.io import read_mesh

SCRIPT = Path(__file__).parents[1] / "tools" / "sculpt_example_head.py"
PARTS = ["skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower"]

Doubles = NDArray[np.float64]
Integers = NDArray[np.integer]


@pytest.fixture(scope="module")
def head() -> Mesh:
    with as_file(files("raf_sdk") / "data" / "example_head.obj") as path:
        return read_mesh(path)


@pytest.fixture(scope="module")
def vertices(head: Mesh) -> Doubles:
    return head.vertices.astype(np.float64)


def polygons(head: Mesh, part: str) -> list[list[int]]:
    """Corners of the faces of one part."""
    group = next(group for group in head.groups if group.name == part)
    ends = np.cumsum(head.face_sizes)
    faces = np.split(head.face_indices, ends[:-1])
    return [face.tolist() for face in faces[group.first_face : group.first_face + group.face_count]]


def triangles(head: Mesh, part: str) -> Integers:
    return np.array([[f[0], f[k], f[k + 1]] for f in polygons(head, part) for k in range(1, len(f) - 1)])


def directed_edges(faces: list[list[int]]) -> list[tuple[int, int]]:
    return [(a, b) for face in faces for a, b in zip(face, [*face[1:], face[0]], strict=True)]


def winding(points: Doubles, corners: Doubles) -> Doubles:
    """How often triangles (T, 3, 3) wind around points (N, 3): 1 inside of a solid, 0 outside."""
    # Van Oosterom, Strackee, "The Solid Angle of a Plane Triangle", 1983.
    sums = np.empty(len(points))
    for index, point in enumerate(points):
        a, b, c = (corners - point).transpose(1, 0, 2)
        la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
        volume = np.einsum("tk,tk->t", a, np.cross(b, c))
        dots = [np.einsum("tk,tk->t", x, y) for x, y in ((a, b), (b, c), (c, a))]
        sums[index] = np.arctan2(volume, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb).sum()
    return sums / (2 * np.pi)


def test_five_parts_of_one_component_each(head: Mesh, vertices: Doubles) -> None:
    assert [group.name for group in head.groups] == PARTS
    assert 3000 <= len(vertices) <= 8000
    assert set(head.face_indices.tolist()) == set(range(len(vertices)))
    edges = np.array(directed_edges([face for part in PARTS for face in polygons(head, part)]))
    links = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(len(vertices),) * 2)
    count, label = connected_components(links, directed=False)
    assert count == len(PARTS)
    assert len({int(label[polygons(head, part)[0][0]]) for part in PARTS}) == len(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_manifold_and_outward(head: Mesh, vertices: Doubles, part: str) -> None:
    edges = directed_edges(polygons(head, part))
    known = set(edges)
    assert len(known) == len(edges)  # no edge has two faces on one side
    border = [edge for edge in edges if edge[::-1] not in known]
    if part == "skin":
        assert np.ptp(vertices[np.array(border), 1]) == 0  # only the neck is open
        assert vertices[border[0][0], 1] == vertices[:, 1].min()
    else:
        assert not border
    corners = vertices[triangles(head, part)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(normals, axis=1).min() > 1e-4
    shifted = corners - [0, vertices[:, 1].min(), 0]  # the opening of the neck then adds nothing
    assert np.einsum("tk,tk->", shifted[:, 0], normals) > 0


def test_a_vertex_has_one_fan_of_faces(head: Mesh) -> None:
    fans: dict[int, dict[int, int]] = {}
    for part in PARTS:
        for face in polygons(head, part):
            for before, vertex, after in zip([face[-1], *face[:-1]], face, [*face[1:], face[0]], strict=True):
                fans.setdefault(vertex, {})[after] = before
    for vertex, fan in fans.items():
        first = next(iter(set(fan) - set(fan.values())), next(iter(fan)))
        reached, seen = fan.get(first), 1
        while reached is not None and reached != first:
            reached, seen = fan.get(reached), seen + (reached in fan)
        assert seen == len(fan), f"vertex {vertex}"


def test_mirror_symmetric(head: Mesh, vertices: Doubles) -> None:
    twin = {tuple(point): index for index, point in enumerate(vertices.tolist())}
    assert len(twin) == len(vertices)
    mirror = [twin[(-x + 0.0, y, z)] for x, y, z in vertices.tolist()]
    faces = {frozenset(face) for part in PARTS for face in polygons(head, part)}
    assert {frozenset(mirror[vertex] for vertex in face) for face in faces} == faces
    assert vertices[polygons(head, "eye_left")[0][0], 0] > 0  # the character's left


def test_proportions_of_an_adult(head: Mesh, vertices: Doubles) -> None:
    eyes = [vertices[np.unique(triangles(head, part))].mean(axis=0) for part in PARTS[1:3]]
    skin = vertices[np.unique(triangles(head, "skin"))]
    middle = skin[np.abs(skin[:, 0]) < 1e-6]
    chin = middle[(middle[:, 2] > 7) & (middle[:, 1] < -5), 1].min()
    assert skin[:, 1].max() - chin == pytest.approx(24, abs=0.6)
    assert eyes[0][0] - eyes[1][0] == pytest.approx(6.3, abs=0.1)
    assert eyes[0][1] == pytest.approx((skin[:, 1].max() + chin) / 2, abs=1)
    assert np.argmax(skin[:, 2]) in np.flatnonzero(np.abs(skin[:, 0]) < 0.5)  # the nose points to +Z


def test_lips_touch_but_are_apart_on_the_surface(head: Mesh, vertices: Doubles) -> None:
    edges = np.array(directed_edges(polygons(head, "skin")))
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    links = sparse.coo_array((length, edges.T), shape=(len(vertices),) * 2).tocsr()
    lips = np.flatnonzero(
        (vertices[:, 0] == 0) & (np.abs(vertices[:, 1] + 3.5) < 0.1) & (vertices[:, 2] > 10)
    )
    lips = lips[np.argsort(-vertices[lips, 2])]
    upper = next(int(lip) for lip in lips if vertices[lip, 1] > -3.5)
    lower = next(int(lip) for lip in lips if vertices[lip, 1] < -3.5)
    assert np.linalg.norm(vertices[upper] - vertices[lower]) < 0.15
    assert dijkstra(links, directed=False, indices=upper)[lower] > 4


@pytest.mark.parametrize("part", PARTS[1:])
def test_eyes_and_teeth_lie_in_their_cavities(head: Mesh, vertices: Doubles, part: str) -> None:
    points = vertices[np.unique(triangles(head, part))][::3]
    flesh = winding(points, vertices[triangles(head, "skin")])
    assert np.abs(flesh).max() < 0.2
    assert winding(np.array([[0.0, 8.0, 0.0]]), vertices[triangles(head, "skin")])[0] > 0.8


def test_texture_coordinates_cover_every_corner(head: Mesh) -> None:
    assert head.uvs is not None
    assert head.uv_indices is not None
    assert head.uv_indices.min() >= 0
    assert np.ptp(head.uvs, axis=0) == pytest.approx([1, 1], abs=0.1)


def test_the_script_sculpts_this_head(head: Mesh, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), "-o", str(tmp_path / "head.obj")], check=True)
    again = read_mesh(tmp_path / "head.obj")
    np.testing.assert_array_equal(again.face_indices, head.face_indices)
    # The last digit may differ between processors.
    np.testing.assert_allclose(again.vertices, head.vertices, atol=1e-3)
