"""Which parts are the face's own, and which only lie around it."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from raf_runtime.face import around_the_face, own_parts, skin_of
from raf_runtime.surface import Surface

# Lowest and highest corners, canonical.
PARTS = {
    "brow": ((0.3, 0.9, 0.6), (1.1, 1.1, 0.8)),
    "eyeball": ((0.5, 0.3, -0.2), (1.1, 0.9, 0.4)),
    "mouth": ((-0.5, -1.6, -1.8), (0.5, -1.0, 0.1)),
    "glasses": ((-1.4, 0.5, 0.5), (1.4, 0.6, 0.9)),
    "beard": ((-0.9, -3.4, -0.4), (0.9, -1.0, 0.9)),
    "fringe": ((-1.2, 0.8, 0.4), (1.2, 2.9, 1.0)),
    "hat": ((-2.2, 1.2, -4.0), (2.2, 3.5, 0.8)),
    "ponytail": ((-0.5, -3.0, -5.0), (0.5, 1.0, -3.8)),
    "scarf": ((-1.9, -3.6, -3.0), (1.9, -2.1, 0.4)),
}
OWN, AROUND = {"brow", "eyeball", "glasses"}, {"fringe", "hat", "ponytail", "scarf"}


def block(low: tuple[float, ...], high: tuple[float, ...]) -> trimesh.Trimesh:
    box = trimesh.creation.box(bounds=(low, high)).subdivide().subdivide().subdivide()
    box.apply_translation((0, 1e-3, 0))
    return box


@pytest.mark.parametrize("name", PARTS)
def test_what_lies_around_the_face_is_told_from_what_is_in_it(name: str) -> None:
    skin = trimesh.creation.icosphere(4)
    skin.apply_scale((2.0, 2.9, 2.4))
    skin.apply_translation((0, 0, -1.5))
    both = trimesh.util.concatenate([skin, block(*PARTS[name])])
    surface = Surface.build(both.vertices, both.faces)
    part = int(surface.component[surface.from_input[len(skin.vertices)]])
    face = int(surface.component[surface.from_input[0]])
    arguments = surface.vertices, surface.faces, surface.component
    assert skin_of(*arguments) == face
    own, around = own_parts(*arguments), around_the_face(*arguments, surface.areas)
    assert own[face] and not around[face]
    assert own[part] == (name in OWN)
    assert around[part] == (name in AROUND)


def test_of_a_mesh_with_nothing_where_a_face_would_be_the_largest_part_is_the_skin() -> None:
    far = trimesh.util.concatenate([block((9, 9, 9), (12, 12, 12)), block((5, 5, 5), (6, 6, 6))])
    surface = Surface.build(far.vertices, far.faces)
    arguments = surface.vertices, surface.faces, surface.component
    assert skin_of(*arguments) == 0
    assert np.array_equal(around_the_face(*arguments, surface.areas), [False, True])
