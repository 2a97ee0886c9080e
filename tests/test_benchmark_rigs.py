"""benchmarks/rigs.py: rigs that somebody made, against what is predicted for their neutrals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import raf_sdk
from raf_runtime.contract import ARKIT_POSES
from raf_sdk.io import read_mesh
from raf_training.data.consensus import donors_of
from raf_training.data.samples import plain_head
from raf_training.data.sources import load_sources

if TYPE_CHECKING:
    from benchmarks.rigs import measure
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    from rigs import measure

DATA = Path(__file__).parents[2] / "shared" / "data"
EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"


def test_a_rig_is_as_far_off_as_it_was_moved() -> None:
    rigger = raf_sdk.Rigger(device="cpu")
    rig = rigger.rig(read_mesh(EXAMPLE)).select(("jawOpen", "mouthSmileLeft", "eyeLookUpLeft"))
    names = "Jaw_Open", "mouthSmile_L", "eyeLookUp_L"
    same, _ = measure(rigger, raf_sdk.Rig(rig.mesh, names, rig.deltas), {})["network"]
    assert same.ratio == pytest.approx(0, abs=1e-6) and same.cosine == pytest.approx(1, abs=1e-6)
    half, shapes = measure(rigger, raf_sdk.Rig(rig.mesh, rig.names, np.float32(0.5) * rig.deltas), {})[
        "network"
    ]
    assert set(shapes) == {"jawOpen", "mouthSmileLeft"}
    assert half.ratio == pytest.approx(1, abs=1e-3)
    assert half.scaled_ratio < 0.03 and half.cosine == pytest.approx(1, abs=1e-6)


@pytest.mark.shared_data
def test_a_rig_of_a_known_family_is_carried_to_its_own_mesh() -> None:
    source = load_sources(DATA, ["makehuman"])["makehuman"]
    head = plain_head(source, source.neutral)
    mesh = raf_sdk.Mesh.from_triangles(head.vertices, head.faces)
    scores = measure(
        raf_sdk.Rigger(device="cpu"),
        raf_sdk.Rig(mesh, ARKIT_POSES, head.deltas),
        donors_of({"makehuman": source}),
    )
    assert list(scores) == ["network", "makehuman", "mean of these"]
    assert scores["makehuman"][0] == scores["mean of these"][0]
    assert scores["makehuman"][0].cosine > 0.9
