"""CharMorph Vitruvian: one detailed bust with named sliders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from raf_training.data.archives import Layout, read_archive
from raf_training.data.rig_source import Floats, RigSource, Sampler, build_source
from raf_training.data.vitruvian_poses import vitruvian_shapes

__all__ = ["load_vitruvian", "vitruvian_sampler"]

ATTRIBUTION: Final = "CharMorph Vitruvian by Sean Buckley and Olaf Delgado-Friedrichs, CC0"

_LAYOUT: Final[Layout] = {
    "vertices": ("V", 3),
    "faces": ("F", 4),
    "identity_names": ("M",),
    "identity_deltas": ("M", "V", 3),
    "expression_names": ("P",),
    "expression_deltas": ("P", "V", 3),
}

_SLIDER_CHANCE: Final = 0.35
_SLIDER_MAX: Final = 0.8
_LIMIT: Final = {
    "Age_Old": 0.5,  # breaks above
    "Generic_Assymetry": 0.4,
    # These open or shift the lids, which the eye shapes, made for the mean face, would then not close.
    "Eyes_Distance": 0.4,
    "Eyes_Size": 0.3,
    "Eyes_LowerLidOpenness": 0.3,
    "Eyes_UpperLidOpenness": 0.3,
    "Eyes_VerticalShift": 0.4,
}
_BLENDED: Final = ("Race_", "Gender_")  # a person is a mixture of these, not a sum
_LEFT_OUT: Final = ("Age_Baby", "Fantasy_")  # a whole-body morph; not human anatomy


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
    archive = read_archive(data_dir / "vitruvian.npz", _LAYOUT)
    names = archive["expression_names"].tolist()
    return [
        build_source(
            name="vitruvian",
            family="vitruvian",
            attribution=ATTRIBUTION,
            faces=archive["faces"],
            neutral=archive["vertices"],
            shapes=vitruvian_shapes(archive["vertices"], names, archive["expression_deltas"]),
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
        if not name.startswith((*_BLENDED, *_LEFT_OUT))
    ]

    def sample(rng: np.random.Generator) -> Floats:
        weights = np.zeros(len(names), np.float32)
        for group in blends:
            weights[group] = rng.uniform(0.2, 1.0) * rng.dirichlet([0.3] * len(group))
        for i, most in others:
            if rng.random() < _SLIDER_CHANCE:
                weights[i] = rng.uniform(0.0, most)
        return weights

    return sample
