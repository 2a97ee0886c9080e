"""The ARKit 52 out of Vitruvian's own shapes, mapped by looking at them beside ICT and MakeHuman.

Names are no guide: some are named after the viewer's side, a `Wide` one moves no corner sideways, and the
halves of a pair overlap, so that their sum creases at the midline. Weights bring the motion, in eye
distances, near that of the other two families. Masked, for want of an honest counterpart: mouthClose (no
shape has closed lips on a lowered jaw) and mouthPress.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_training.data.rig_source import Floats, Shapes

__all__ = ["SIDES", "vitruvian_shapes"]

SIDES: Final = ("Left", "Right")

# Named after the viewer's side; every other pair after the character's.
_SWAPPED: Final = ("Frown", "Lips_Up_Raised", "Lips_Up_Lower", "Opened_ClosedTeeth")

_MIDLINE: Final = 0.9  # cm; the left half of a mouth shape sets in from -0.9 to 0.9
_BROW: Final = (1.5, 4.0)  # cm from the midline; the raised brow is the inner one, then the outer one

# ARKit name -> {own shape: weight}.
_CENTRAL: Final[dict[str, dict[str, float]]] = {
    "cheekPuff": {"Cheeks_Puffed": 1.5},
    "jawForward": {"Jaw_Out": 1.2},
    "jawLeft": {"Mouth_Closed_Jaw_Move": 1.2},
    "jawOpen": {"Mouth_Large_Opened": 0.9},
    "jawRight": {"Mouth_Closed_Jaw_Move": -1.2},  # a sideways motion without up or forward parts: it mirrors
    "mouthFunnel": {
        "Kiss": 0.7,
        "Lips_Dn_Funnel": 0.5,
        "Lips_Dn_Out": 0.7,
        "Lips_Up_Funnel": 0.5,
        "Lips_Up_Out": 0.7,
    },
    "mouthLeft": {"Mouth_Closed_Move_Left": 0.7},
    "mouthPucker": {"Kiss": 0.9, "Lips_Up_Out": 1.0, "Lips_Dn_Out": 1.0},
    "mouthRight": {"Mouth_Closed_Move_Right": 0.65},
    "mouthRollLower": {"Lips_Dn_In": 1.3},
    "mouthRollUpper": {"Lips_Up_In": 1.5},
    "mouthShrugLower": {"Chin_Raised": 1.0},
    "mouthShrugUpper": {"Lips_Up_Raised_M": 1.3},
    "tongueOut": {"Tongue_Forward": 1.0},
}

# ARKit name without its side -> {own shape without its side: weight}.
_SIDED: Final[dict[str, dict[str, float]]] = {
    "browDown": {"Eyebrows_Lower": 1.0},
    "cheekSquint": {"Cheeks_Raised": 1.0},
    "eyeBlink": {"Eyes_Closed": 1.0},
    "eyeLookDown": {"Look_Dwn": 1.0, "Eyes_Closed": 0.3},
    "eyeLookIn": {"Look_In": 1.0},
    "eyeLookOut": {"Look_Out": 1.0},
    "eyeLookUp": {"Look_Up": 1.0},
    "eyeSquint": {"Lower_Eyelid_Up": 1.0, "Cheeks_Raised": 0.25},
    "eyeWide": {"Eyes_Opened_Max": 1.2},
    "mouthDimple": {"Lips_Dimple": 0.8},
    "mouthSmile": {"Smile_Lips_Closed": 1.3},
    "noseSneer": {"Nostrils_Corners_Raise_GLOBAL": 1.0},
}

# ARKit name without its side -> {whole-mouth shape: weight}, cut softly at the midline.
_HALVED: Final[dict[str, dict[str, float]]] = {
    "mouthFrown": {"Mouth_Closed_Corner": 1.0},
    "mouthLowerDown": {"Lips_Dn_Lower_Both": 0.7},
    "mouthUpperUp": {"Lips_Up_Raised_Both": 1.0},
}

# ARKit name without its side -> {ARKit name without its side: weight}. No own shape draws the corner straight outwards,
# but up and out with down and out does: these weights fit the stretch of ICT (residual 0.40 of its length) and of
# MakeHuman (0.26).
_COMBINED: Final[dict[str, dict[str, float]]] = {
    "mouthStretch": {"mouthFrown": 1.15, "mouthDimple": 0.4, "mouthSmile": 0.25},
}

# The rig's own inner and outer brows tear at their ends; the whole brow cut softly in two does not.
_RAISED_BROWS: Final = {"Eyebrows_Raised_Both": 0.8}


def vitruvian_shapes(neutral: Floats, names: list[str], shapes: NDArray[np.floating]) -> Shapes:
    """Compose the ARKit shapes.

    Parameters
    ----------
    neutral
        ``(V, 3) float32`` neutral vertices, cm, the character's left at +X.
    names
        The S own shape names.
    shapes
        ``(S, V, 3)`` their displacements, cm.

    Returns
    -------
    dict
        ARKit name -> ``(V, 3) float32`` displacements; masked poses are absent.

    Raises
    ------
    KeyError
        If a shape of the tables is not among ``names``.
    """
    x = neutral[:, :1]
    own = _own_shapes(x, names, shapes)

    def mix(weights: Mapping[str, float], side: str = "") -> Floats:
        return sum((np.float32(w) * own[name + side] for name, w in weights.items()), np.zeros_like(neutral))

    poses = {pose: mix(weights) for pose, weights in _CENTRAL.items()}
    inner, outer = _BROW
    brows = mix(_RAISED_BROWS)
    poses["browInnerUp"] = brows * _smoothstep(-np.abs(x), -outer, -inner)
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        half = _smoothstep(sign * x, -_MIDLINE, _MIDLINE)
        poses |= {pose + side: mix(weights, f"_{side}") for pose, weights in _SIDED.items()}
        poses |= {pose + side: mix(weights) * half for pose, weights in _HALVED.items()}
        for pose, weights in _COMBINED.items():
            poses[pose + side] = sum(
                (np.float32(w) * poses[name + side] for name, w in weights.items()), np.zeros_like(neutral)
            )
        poses[f"browOuterUp{side}"] = brows * _smoothstep(sign * x, inner, outer)
    return poses


def _own_shapes(x: Floats, names: list[str], shapes: NDArray[np.floating]) -> Shapes:
    """Own shapes by name, on the character's sides; each pair of halves is also joined as ``NAME_Both``."""
    own = {name: shape.astype(np.float32) for name, shape in zip(names, shapes, strict=True)}
    for stem in _SWAPPED:
        left, right = (f"{stem}_{side}" for side in SIDES)
        own[left], own[right] = own[right], own[left]
    for stem in [name.removesuffix("_Left") for name in names if name.endswith("_Left")]:
        left, right = (own[f"{stem}_{side}"] for side in SIDES)
        own[f"{stem}_Both"] = np.where(x > 0, left, np.where(x < 0, right, (left + right) * np.float32(0.5)))
    return own


def _smoothstep(x: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(np.float32)
