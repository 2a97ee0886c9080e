"""benchmarks/rigs.py: rigs that somebody made, against what is predicted for their neutrals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import raf_sdk
from raf_sdk.io import read_mesh

if TYPE_CHECKING:
    from benchmarks.rigs import measure
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    from rigs import measure

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"


def test_a_rig_is_as_far_off_as_it_was_moved() -> None:
    rigger = raf_sdk.Rigger(device="cpu")
    rig = rigger.rig(read_mesh(EXAMPLE)).select(("jawOpen", "mouthSmileLeft", "eyeLookUpLeft"))
    same, _ = measure(rigger, raf_sdk.Rig(rig.mesh, ("Jaw_Open", "mouthSmile_L", "eyeLookUp_L"), rig.deltas))
    assert same.ratio == pytest.approx(0, abs=1e-6) and same.cosine == pytest.approx(1, abs=1e-6)
    half, shapes = measure(rigger, raf_sdk.Rig(rig.mesh, rig.names, np.float32(0.5) * rig.deltas))
    assert set(shapes) == {"jawOpen", "mouthSmileLeft"}
    assert half.ratio == pytest.approx(1, abs=1e-3)
    assert half.scaled_ratio < 0.03 and half.cosine == pytest.approx(1, abs=1e-6)
