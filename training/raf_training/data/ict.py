"""ICT-FaceKit: one dense head with a PCA of scanned identities."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from raf_runtime.contract import ARKIT_POSES

from raf_training.data.rig_source import RigSource, arkit_deltas, build_source, read_archive

__all__ = ["load_ict"]

ATTRIBUTION: Final = "ICT-FaceKit (c) 2020 USC Institute for Creative Technologies, MIT licence"

_SPLIT: Final = {"browInnerUp", "cheekPuff"}  # one ARKit name, two ICT shapes
_ABSENT: Final = {"tongueOut"}


def _ict_mix(pose: str) -> dict[str, float]:
    """ICT shapes and weights that make one ARKit pose."""
    if pose in _SPLIT:
        return {f"{pose}_L": 1.0, f"{pose}_R": 1.0}
    for side in ("Left", "Right"):
        if pose.endswith(side) and pose not in {"jawLeft", "jawRight", "mouthLeft", "mouthRight"}:
            return {f"{pose.removesuffix(side)}_{side[0]}": 1.0}
    return {pose: 1.0}


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
    archive = read_archive(data_dir / "ict_facekit.npz")
    modes = archive["identity_deltas"]
    table = {pose: _ict_mix(pose) for pose in ARKIT_POSES if pose not in _ABSENT}
    deltas, mask = arkit_deltas(table, archive["expression_names"].tolist(), archive["expression_deltas"])

    def sample(rng: np.random.Generator) -> np.ndarray:
        # The coefficients of the scans are standard normal; beyond 2.5 the tails are caricatures.
        return np.clip(rng.standard_normal(len(modes)), -2.5, 2.5).astype(np.float32)

    return [
        build_source(
            name="ict",
            family="ict",
            attribution=ATTRIBUTION,
            faces=archive["faces"],
            neutral=archive["vertices"],
            deltas=deltas,
            mask=mask,
            modes=modes,
            sample_weights=sample,
            keep_face_size=False,
        )
    ]
