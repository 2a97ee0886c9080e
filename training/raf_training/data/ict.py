"""ICT-FaceKit: one dense head with a PCA of scanned identities."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
from scipy.spatial.transform import Rotation

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.archives import Layout, read_archive
from raf_training.data.rig_source import Floats, RigSource, Shapes, build_source

__all__ = ["load_ict"]

ATTRIBUTION: Final = "ICT-FaceKit (c) 2020 USC Institute for Creative Technologies, MIT licence"

_SPLIT: Final = {"browInnerUp", "cheekPuff"}  # one ARKit name, two ICT shapes
_UNSIDED: Final = {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}  # a direction, not a side
_ABSENT: Final = {"tongueOut"}

_LAYOUT: Final[Layout] = {
    "vertices": ("V", 3),
    "faces": ("F", 4),
    "vertex_part": ("V",),
    "part_names": ("N",),
    "identity_deltas": ("M", "V", 3),
    "expression_names": ("P",),
    "expression_deltas": ("P", "V", 3),
}

# Degrees that a look turns an eyeball; MakeHuman's are 15, 15, 10, 11, Vitruvian's 28, 20, 15, 12.
_GAZE: Final = {"In": 20.0, "Out": 20.0, "Up": 14.0, "Down": 14.0}


def _ict_names(pose: str) -> list[str]:
    """Names of the ICT shapes whose sum is one ARKit pose."""
    if pose in _SPLIT:
        return [f"{pose}_L", f"{pose}_R"]
    if pose in _UNSIDED:
        return [pose]
    return [re.sub("(Left|Right)$", lambda side: f"_{side[0][0]}", pose)]


def _gaze(ball: Floats, side: str) -> Shapes:
    """Displacements of one eyeball by its four looks; ICT's own shapes move the lids only."""
    offset = ball - (ball.min(0) + ball.max(0)) / 2
    inward = -1.0 if side == "Left" else 1.0
    turns = {"In": ("y", inward), "Out": ("y", -inward), "Up": ("x", -1.0), "Down": ("x", 1.0)}
    return {
        f"eyeLook{look}{side}": (
            Rotation.from_euler(axis, sign * _GAZE[look], degrees=True).apply(offset) - offset
        ).astype(np.float32)
        for look, (axis, sign) in turns.items()
    }


def load_ict(data_dir: Path) -> list[RigSource]:
    """Read the ICT head.

    Parameters
    ----------
    data_dir
        Folder of ``ict_facekit.npz``.

    Returns
    -------
    list of RigSource
        The one source ``ict``, in cm.

    Raises
    ------
    DataError
        If the archive is missing or incomplete.
    """
    archive = read_archive(data_dir / "ict_facekit.npz", _LAYOUT)
    modes = archive["identity_deltas"]
    own = dict(zip(archive["expression_names"].tolist(), archive["expression_deltas"], strict=True))
    shapes: Shapes = {
        pose: np.stack([own[name] for name in _ict_names(pose)]).astype(np.float32).sum(0)
        for pose in ARKIT_POSES
        if pose not in _ABSENT
    }
    for side in ("Left", "Right"):
        ball = archive["vertex_part"] == archive["part_names"].tolist().index(f"eyeball_{side.lower()}")
        for pose, motion in _gaze(archive["vertices"][ball], side).items():
            shapes[pose][ball] = motion

    def sample(rng: np.random.Generator) -> Floats:
        # The coefficients of the scans are standard normal; beyond 2.5 the tails are caricatures.
        return np.clip(rng.standard_normal(len(modes)), -2.5, 2.5).astype(np.float32)

    return [
        build_source(
            name="ict",
            family="ict",
            attribution=ATTRIBUTION,
            faces=archive["faces"],
            neutral=archive["vertices"],
            shapes=shapes,
            modes=modes,
            sample_weights=sample,
            keep_face_size=False,
        )
    ]
