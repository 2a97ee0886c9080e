"""CharMorph Vitruvian: one detailed bust whose own shapes are mapped to ARKit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_training.data.rig_source import RigSource, Sampler, arkit_deltas, build_source, read_archive

__all__ = ["VITRUVIAN_ARKIT", "load_vitruvian", "vitruvian_sampler"]

ATTRIBUTION: Final = "CharMorph Vitruvian by Sean Buckley and Olaf Delgado-Friedrichs, CC0"

_SLIDER_CHANCE: Final = 0.25
_SLIDER_MAX: Final = 0.6
# Age_Baby is a whole-body morph, fantasy shapes are not human anatomy; old age breaks above one half.
_LEFT_OUT: Final = frozenset({"Age_Baby"})
_LIMIT: Final = {"Age_Old": 0.5, "Generic_Assymetry": 0.3}
_BLENDED: Final = ("Race_", "Gender_")  # a person is a mixture of these, not a sum

# ARKit pose without its side -> {own shape: weight}. "{}" stands for Left or Right; a few
# shapes are named after the viewer's side, "{swapped}".
_SIDED: Final[dict[str, dict[str, float]]] = {
    "browDown": {"Eyebrows_Lower_{}": 1.0},
    "browOuterUp": {"Eyebrows_OuterBrow_Raised_{}": 1.0},
    "cheekSquint": {"Cheeks_Raised_{}": 1.0},
    "eyeBlink": {"Eyes_Closed_{}": 1.0},
    "eyeLookDown": {"Look_Dwn_{}": 1.0},
    "eyeLookIn": {"Look_In_{}": 1.0},
    "eyeLookOut": {"Look_Out_{}": 1.0},
    "eyeLookUp": {"Look_Up_{}": 1.0},
    "eyeSquint": {"Lower_Eyelid_Up_{}": 1.0},
    "eyeWide": {"Eyes_Opened_Max_{}": 1.0},
    "mouthDimple": {"Lips_Dimple_{}": 1.0},
    "mouthFrown": {"Frown_{swapped}": 1.0},
    "mouthLowerDown": {"Lips_Dn_Lower_{}": 1.0},
    "mouthSmile": {"Smile_Lips_Closed_{}": 1.0},
    "mouthStretch": {"Lips_Dn_Corner_Wide_{}": 1.0},
    "mouthUpperUp": {"Lips_Up_Raised_{swapped}": 1.0},
    "noseSneer": {"Nostrils_Corners_Raise_GLOBAL_{}": 1.0},
}
_CENTRAL: Final[dict[str, dict[str, float]]] = {
    "browInnerUp": {"Eyebrows_InnerBrow_Raised_Left": 1.0, "Eyebrows_InnerBrow_Raised_Right": 1.0},
    "cheekPuff": {"Cheeks_Puffed": 1.0},
    "jawForward": {"Jaw_Out": 1.0},
    "jawOpen": {"Mouth_Large_Opened": 1.0},
    "mouthFunnel": {"Lips_Up_Funnel": 1.0, "Lips_Dn_Funnel": 1.0},
    "mouthLeft": {"Mouth_Closed_Move_Left": 1.0},
    "mouthRight": {"Mouth_Closed_Move_Right": 1.0},
    "mouthPucker": {"Kiss": 1.0},
    "mouthRollLower": {"Lips_Dn_In": 1.0},
    "mouthRollUpper": {"Lips_Up_In": 1.0},
    "mouthShrugLower": {"Chin_Raised": 1.0},
    "tongueOut": {"Tongue_Forward": 1.0},
}

VITRUVIAN_ARKIT: Final[dict[str, dict[str, float]]] = {
    **_CENTRAL,
    **{
        pose + side: {own.format(side, swapped=other): weight for own, weight in mix.items()}
        for pose, mix in _SIDED.items()
        for side, other in (("Left", "Right"), ("Right", "Left"))
    },
}


def load_vitruvian(data_dir: Path) -> list[RigSource]:
    """Read the Vitruvian bust.

    Parameters
    ----------
    data_dir
        Folder of ``vitruvian.npz``.

    Returns
    -------
    list of RigSource
        The one source ``vitruvian``, in cm.

    Raises
    ------
    DataError
        If the archive is missing or incomplete.
    """
    archive = read_archive(data_dir / "vitruvian.npz")
    names = archive["expression_names"].tolist()
    deltas, mask = arkit_deltas(VITRUVIAN_ARKIT, names, archive["expression_deltas"])
    return [
        build_source(
            name="vitruvian",
            family="vitruvian",
            attribution=ATTRIBUTION,
            faces=archive["faces"],
            neutral=archive["vertices"],
            deltas=deltas,
            mask=mask,
            modes=archive["identity_deltas"],
            sample_weights=vitruvian_sampler(archive["identity_names"].tolist()),
            keep_face_size=True,
        )
    ]


def vitruvian_sampler(names: Sequence[str]) -> Sampler:
    """Make the distribution of Vitruvian identities: a blend of races and sexes, and a few other sliders.

    Parameters
    ----------
    names
        Names of the M identity modes.

    Returns
    -------
    callable
        ``rng -> (M,) float32`` weights.
    """
    blends = [np.array([i for i, name in enumerate(names) if name.startswith(kind)]) for kind in _BLENDED]
    others = [
        (i, _LIMIT.get(name, _SLIDER_MAX))
        for i, name in enumerate(names)
        if name not in _LEFT_OUT and not name.startswith((*_BLENDED, "Fantasy_"))
    ]

    def sample(rng: np.random.Generator) -> NDArray[np.float32]:
        weights = np.zeros(len(names), np.float32)
        for group in blends:
            weights[group] = rng.uniform(0.2, 0.8) * rng.dirichlet([0.3] * len(group))
        for i, most in others:
            if rng.random() < _SLIDER_CHANCE:
                weights[i] = rng.uniform(0.0, most)
        return weights

    return sample
