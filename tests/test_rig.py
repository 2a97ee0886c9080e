from __future__ import annotations

import numpy as np
import pytest

from raf_runtime.errors import MeshError, PoseNameError
from raf_sdk import Mesh, Rig

POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
MESH = Mesh.from_triangles(POINTS, [[0, 1, 2, 3]])
DELTAS = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
RIG = Rig(MESH, ("jawOpen", "mouthSmileLeft"), DELTAS)


def test_evaluate_adds_weighted_poses() -> None:
    assert np.array_equal(RIG.evaluate({}), POINTS)
    assert np.array_equal(RIG.evaluate({"jawOpen": 1}), POINTS + DELTAS[0])
    both = RIG.evaluate({"mouthSmileLeft": -0.5, "jawOpen": 2.0})
    np.testing.assert_allclose(both, POINTS + 2 * DELTAS[0] - 0.5 * DELTAS[1], rtol=1e-6)
    assert both.dtype == np.float32
    both[:] = 0  # a fresh array: the rig stays as it is
    assert np.array_equal(RIG.vertices, POINTS)


def test_unknown_poses_are_named_with_the_nearest_known_one() -> None:
    with pytest.raises(PoseNameError, match="no pose 'jawopen'; did you mean 'jawOpen'"):
        RIG.evaluate({"jawopen": 1})
    with pytest.raises(PoseNameError, match=r"no pose 'x'; see Rig.names"):
        RIG.evaluate({"x": 0})


def test_select_keeps_some_poses_in_the_order_that_is_asked_for() -> None:
    both = RIG.select(["mouthSmileLeft", "jawOpen"])
    assert both.names == ("mouthSmileLeft", "jawOpen")
    assert both.mesh is MESH
    assert np.array_equal(both.deltas, DELTAS[::-1])
    assert np.array_equal(RIG.select(["mouthSmileLeft"]).deltas, DELTAS[1:])
    with pytest.raises(PoseNameError, match="did you mean 'jawOpen'"):
        RIG.select(["jawopen"])


def test_a_rig_exposes_its_mesh_and_cannot_be_changed() -> None:
    assert RIG.vertices is MESH.vertices
    assert RIG.faces is MESH.faces
    with pytest.raises(ValueError, match="read-only"):
        RIG.deltas[0] = 0
    assert DELTAS.flags.writeable


@pytest.mark.parametrize(
    ("names", "deltas", "message"),
    [
        (("a",), DELTAS, r"deltas have shape \(2, 4, 3\); names and mesh ask for \(1, 4, 3\)"),
        (("a", "b"), DELTAS[:, :3], "shape"),
        (("a", "a"), DELTAS, "unique"),
        (("a", ""), DELTAS, "not empty"),
        (
            ("a", "b"),
            np.where(np.arange(24).reshape(2, 4, 3) == 20, np.nan, DELTAS),
            "vertex 2 in pose 'b' is not",
        ),
    ],
)
def test_parts_that_do_not_fit(names: tuple[str, ...], deltas: np.ndarray, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        Rig(MESH, names, deltas)
