"""Jeeliz Weboji: three animal heads with eleven exaggerated shapes each."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_training.data.archives import check_layout, read_archive
from raf_training.data.rig_source import Floats, RigSource, Shapes, build_source

__all__ = ["load_animals"]

ATTRIBUTION: Final = "Jeeliz Weboji koala, tiger and turtle, Apache-2.0"

# Shapes that mean what the ARKit shape means.
_SAME: Final = {
    "jawOpen": "mouthOpen",
    "mouthFunnel": "mouthRound",
    "mouthSmileLeft": "smileLeft",
    "mouthSmileRight": "smileRight",
    "browDownLeft": "browDownLeft",
    "browDownRight": "browDownRight",
    "eyeBlinkLeft": "eyeBlinkLeft",
    "eyeBlinkRight": "eyeBlinkRight",
}
# The koala's bares its lower teeth: nothing that ARKit knows.
_NO_SNEER: Final = ("koala",)


def load_animals(data_dir: Path) -> list[RigSource]:
    """Read the animals.

    Parameters
    ----------
    data_dir
        Folder of ``weboji_animals.npz``.

    Returns
    -------
    list of RigSource
        ``animals/koala``, ``animals/tiger`` and ``animals/turtle``, each with one identity and a unit of its own.

    Raises
    ------
    DataError
        If the archive is missing or incomplete.
    """
    path = data_dir / "weboji_animals.npz"
    archive = read_archive(path, {"names": ("N",), "expression_names": ("P",)})
    names = archive["expression_names"].tolist()
    animals = archive["names"].tolist()
    for animal in animals:
        layout = {"vertices": ("V", 3), "faces": ("F", 4), "deltas": (len(names), "V", 3)}
        check_layout(path, archive, {f"{animal}_{name}": axes for name, axes in layout.items()})
    return [_load(archive, names, animal) for animal in animals]


def _load(archive: dict[str, NDArray[np.generic]], names: list[str], animal: str) -> RigSource:
    neutral = np.asarray(archive[f"{animal}_vertices"], np.float32)
    own = dict(zip(names, np.asarray(archive[f"{animal}_deltas"], np.float32), strict=True))
    return build_source(
        name=f"animals/{animal}",
        family="animals",
        attribution=ATTRIBUTION,
        faces=np.asarray(archive[f"{animal}_faces"], np.int32),
        neutral=neutral,
        shapes=_shapes(neutral, own, sneers=animal not in _NO_SNEER),
        modes=np.zeros((0, *neutral.shape), np.float16),
        sample_weights=lambda rng: np.zeros(0, np.float32),
        keep_face_size=False,
    )


def _shapes(neutral: Floats, own: Shapes, *, sneers: bool) -> Shapes:
    """ARKit shapes; where one of the animal's is several of ARKit's, it is divided in space, and they add up to it."""
    shapes = {pose: own[name] for pose, name in _SAME.items()}
    eye = _centre(neutral, own["eyeBlinkLeft"])
    # Inner brows lie between the eyes, outer ones above and beyond them.
    outer = _rise(np.abs(neutral[:, 0]), 0.4 * eye[0], 1.0 * eye[0])
    shapes["browOuterUpLeft"] = outer * own["browUpLeft"]
    shapes["browOuterUpRight"] = outer * own["browUpRight"]
    shapes["browInnerUp"] = ((1 - outer) * (own["browUpLeft"] + own["browUpRight"])).astype(np.float32)
    if sneers:
        left = _rise(neutral[:, 0], -0.15 * eye[0], 0.15 * eye[0])
        mouth = _centre(neutral, own["mouthOpen"])
        nose = _rise(neutral[:, 1], 0.65 * mouth[1] + 0.35 * eye[1], 0.35 * mouth[1] + 0.65 * eye[1])
        for side, half in (("Left", left), ("Right", 1 - left)):
            shapes[f"noseSneer{side}"] = half * nose * own["mouthNasty"]
            shapes[f"mouthUpperUp{side}"] = half * (1 - nose) * own["mouthNasty"]
    return shapes


def _centre(points: Floats, displacements: Floats) -> Floats:
    energy = np.square(displacements).sum(1)
    return energy @ points / energy.sum()


def _rise(values: Floats, low: float, high: float) -> Floats:
    """Weights (V, 1) that rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t))[:, None].astype(np.float32)
