"""Left and right shapes of a symmetric head mirror each other; other heads are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_runtime.operators import vertex_normals
from raf_runtime.surface import Surface
from raf_runtime.symmetry import ALMOST_ALL, TOLERANCE, Mirror, other_side
from raf_sdk.io import read_mesh

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"
OPPOSITE = [ARKIT_POSES.index(other_side(pose)) for pose in ARKIT_POSES]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]


def bumpy_head() -> tuple[Doubles, Surface]:
    """A ball, symmetric about x = 0 only, with a pair of eyes and a hat that leans."""
    skin = trimesh.creation.icosphere(4, radius=2.5)
    skin.vertices += 0.2 * np.sin(3 * skin.vertices[:, [2, 1, 1]]) * [0, 1, 0.5]
    skin.vertices[:, 1] += 0.1 * np.abs(skin.vertices[:, 0])
    eyes = [trimesh.creation.icosphere(2, radius=0.3).apply_translation((x, 0.5, 2.4)) for x in (0.8, -0.8)]
    eyes[1] = eyes[0].copy()
    eyes[1].apply_transform(np.diag([-1.0, 1, 1, 1]))
    hat = trimesh.creation.icosphere(2, radius=1.0).apply_translation((0.4, 3.0, 0.0))
    both = trimesh.util.concatenate([skin, *eyes, hat])
    surface = Surface.build(both.vertices, both.faces)
    return surface.vertices, surface


def find(points: Doubles, surface: Surface) -> Mirror | None:
    return Mirror.find(points, vertex_normals(points, surface.faces), surface.component, 0)


def asymmetry(displacements: Floats, partner: NDArray[np.int64], reflection: Doubles) -> Floats:
    """Distance (P, S) of displacements from the mirrored ones of the opposite poses."""
    return np.linalg.norm(displacements - displacements[OPPOSITE][:, partner] @ reflection, axis=2)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0.5, -1, 0.7)])
def test_symmetric_parts_are_averaged_and_others_left_alone(degrees: tuple[float, float, float]) -> None:
    points, surface = bumpy_head()
    # What the frame is off by must not matter.
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    mirror = find(points @ turn.T + [0.02, 0, 0], surface)
    assert mirror is not None
    assert np.allclose(np.abs(mirror.normal), np.abs(turn[:, 0]), atol=1e-4)
    hat = surface.component == surface.component[np.argmax(points[:, 1])]
    assert np.array_equal(mirror.alone, np.flatnonzero(hat))
    assert np.allclose(points[mirror.partner[~hat]], points[~hat] * [-1, 1, 1], atol=TOLERANCE)

    before = np.random.default_rng(0).standard_normal((52, len(points), 3)).astype(np.float32)
    after = before.copy()
    mirror.average(after, ARKIT_POSES)
    reflection = np.eye(3) - 2 * np.outer(mirror.normal, mirror.normal)
    assert asymmetry(before, mirror.partner, reflection)[:, ~hat].max() > 1
    assert asymmetry(after, mirror.partner, reflection)[:, ~hat].max() < 1e-5
    assert np.array_equal(after[:, hat], before[:, hat])
    # A mean: what was symmetric already stays.
    again = after.copy()
    mirror.average(again, ARKIT_POSES)
    assert np.allclose(again, after, atol=1e-5)


def test_skin_beyond_the_tolerance_is_not_symmetric() -> None:
    points, surface = bumpy_head()
    moved = points.copy()
    skin = np.flatnonzero((surface.component == 0) & (points[:, 0] > 0.5))
    rough = np.random.default_rng(0).choice(skin, int(2 * (1 - ALMOST_ALL) * len(points)))
    moved[rough] += [0.0, 0.0, 3 * TOLERANCE]
    assert find(moved, surface) is None
    scan = points + np.random.default_rng(0).normal(scale=0.02, size=points.shape)
    assert find(scan, surface) is None


def test_poses_have_another_side() -> None:
    assert other_side("eyeBlinkLeft") == "eyeBlinkRight"
    assert other_side("jawRight") == "jawLeft"
    assert other_side("mouthFunnel") == "mouthFunnel"
    assert sorted(OPPOSITE) == list(range(52))


def test_a_pose_without_its_other_side_is_left_alone() -> None:
    points, surface = bumpy_head()
    mirror = find(points, surface)
    assert mirror is not None
    before = np.random.default_rng(0).standard_normal((2, len(points), 3)).astype(np.float32)
    after = before.copy()
    mirror.average(after, ("winkLeft", "smirk"))
    assert np.array_equal(after[0], before[0])
    assert not np.array_equal(after[1], before[1])


@pytest.mark.parametrize("degrees", [0, 15])
def test_the_rig_of_a_symmetric_head_is_symmetric(degrees: float) -> None:
    mesh = read_mesh(EXAMPLE)
    turn = Rotation.from_euler("xyz", (degrees, -degrees, degrees / 2), degrees=True).as_matrix()
    rig = raf_sdk.Rigger(device="cpu").rig((mesh.vertices @ turn.T, mesh.faces))
    distance, partner = KDTree(mesh.vertices).query(mesh.vertices * [-1, 1, 1])
    assert distance.max() == 0
    apart = asymmetry(rig.deltas @ turn.astype(np.float32), np.asarray(partner), np.diag([-1.0, 1, 1]))
    assert apart.max() < 1e-4 * np.linalg.norm(rig.deltas, axis=2).max()
