"""MakeHuman: one base head, its sliders, and the coarser proxy meshes bound to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.archives import Arrays, Layout, read_archive
from raf_training.data.rig_source import Floats, RigSource, Sampler, build_source
from raf_training.errors import DataError

__all__ = ["load_makehuman", "makehuman_sampler"]

ATTRIBUTION: Final = "MakeHuman base mesh, targets and proxies, CC0; ARKit face units by Mika Suominen, CC0"

_LAYOUT: Final[Layout] = {
    "vertices": ("V", 3),
    "faces": ("F", 4),
    "identity_names": ("M",),
    "identity_deltas": ("M", "V", 3),
    "expression_names": ("P",),
    "expression_deltas": ("P", "V", 3),
}

_RACES: Final = ("african", "asian", "caucasian")
_AGES: Final = ("child", "young", "old")
_MUSCLES: Final = ("minmuscle", "averagemuscle", "maxmuscle")
_WEIGHTS: Final = ("minweight", "averageweight", "maxweight")

# A slider moves with this chance, up to this weight. Heads get odd, then broken, beyond about twice as much.
_SLIDER_CHANCE: Final = 0.22
_SLIDER_MAX: Final = 0.6
# Less for the strong ones (start of the slider's name), and for those that pull one side only.
_LIMIT: Final = {
    "asym/": 0.3,
    "eyebrows/eyebrows-trans": 0.15,
    "eyes/eye-height": 0.3,  # lids opened further than the shapes, made for the mean face, can close
    "eyes/eye-scale": 0.25,
    "eyes/eye-trans": 0.3,
    "forehead/": 0.3,
    "head/head-scale": 0.35,
    "mouth/mouth-dimples": 0.25,
    "mouth/mouth-laugh-lines": 0.25,
    "mouth/mouth-trans": 0.25,
    "nose/nose-trans": 0.25,
}

# Last words of sliders that are not one end of a pair but one of several shapes, of which a head has one.
_SHAPES: Final = frozenset(
    "diamond invertedtriangular oval rectangular round square triangular pointed triangle".split()
)


def load_makehuman(data_dir: Path) -> list[RigSource]:
    """Read the MakeHuman head and its proxies.

    Parameters
    ----------
    data_dir
        Folder of ``makehuman_heads.npz`` and ``makehuman_proxies.npz``.

    Returns
    -------
    list of RigSource
        ``makehuman`` first, then ``makehuman/PROXY``, all in dm.

    Raises
    ------
    DataError
        If an archive is missing or incomplete.
    """
    head = read_archive(data_dir / "makehuman_heads.npz", _LAYOUT)
    proxies = _read_proxies(data_dir / "makehuman_proxies.npz", len(head["vertices"]))
    own = dict(zip(head["expression_names"].tolist(), head["expression_deltas"], strict=True))
    sample = makehuman_sampler(head["identity_names"].tolist())
    modes = head["identity_deltas"]

    def source(
        name: str,
        faces: NDArray[np.int32],
        bind: NDArray[np.int32],
        bind_weights: Floats,
        anchors: Floats | None = None,
    ) -> RigSource:
        def carry(field: NDArray[np.floating]) -> Floats:
            """(V_head, 3) -> (V_proxy, 3)."""
            return np.einsum("pk,pkc->pc", bind_weights, field[bind].astype(np.float32))

        return build_source(
            name=name,
            family="makehuman",
            attribution=ATTRIBUTION,
            faces=faces,
            neutral=carry(head["vertices"]),
            shapes={pose: carry(own[pose]) for pose in ARKIT_POSES},
            modes=np.stack([carry(mode).astype(np.float16) for mode in modes]),
            sample_weights=sample,
            keep_face_size=True,
            anchors=anchors,
        )

    itself = np.arange(len(head["vertices"]), dtype=np.int32)[:, None]
    base = source("makehuman", head["faces"], itself, np.ones(itself.shape, np.float32))
    anchors = base.anchors(base.neutral)
    bound = [
        source(
            f"makehuman/{name}",
            proxies[f"{name}_faces"],
            proxies[f"{name}_bind"],
            proxies[f"{name}_weights"],
            anchors,
        )
        for name in proxies["names"].tolist()
    ]
    return [base, *bound]


def _read_proxies(path: Path, count: int) -> Arrays:
    """Read the proxies; they are bound to ``count`` vertices of the head."""
    proxies = read_archive(path, {"names": ("N",)})
    for name in proxies["names"].tolist():
        bind, weights = proxies[f"{name}_bind"], proxies[f"{name}_weights"]
        if bind.shape != weights.shape or bind.min() < 0 or bind.max() >= count:
            raise DataError(
                f"{path}: {name} is not bound to the {count} vertices of makehuman_heads.npz; "
                "make both again with `raf-data import makehuman`"
            )
    return proxies


def makehuman_sampler(names: Sequence[str]) -> Sampler:
    """Make the distribution of MakeHuman identities.

    A blend of races, sexes, ages and builds as the program itself composes them, plus a sparse random set of
    sliders: one end of each pair, both sides of the face alike, and a little asymmetry.

    Parameters
    ----------
    names
        Upstream names of the M identity modes, such as ``head/head-fat-incr``.

    Returns
    -------
    callable
        ``rng -> (M,) float32`` weights.
    """
    index = {name: i for i, name in enumerate(names)}
    sliders: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, i in index.items():
        folder, target = name.split("/")
        if folder != "macrodetails":
            stem, _, end = target.removeprefix("l-").removeprefix("r-").rpartition("-")
            sliders[f"{folder}/shape" if end in _SHAPES else f"{folder}/{stem}"][end].append(i)

    def sample(rng: np.random.Generator) -> Floats:
        weights = np.zeros(len(names), np.float32)
        for name, weight in _macro_weights(rng).items():
            if name in index:  # targets that leave the head alone are not in the archive
                weights[index[name]] = weight
        for slider, ends in sliders.items():
            if rng.random() < _SLIDER_CHANCE:
                end = list(ends)[rng.integers(len(ends))]
                most = next((m for start, m in _LIMIT.items() if slider.startswith(start)), _SLIDER_MAX)
                weights[ends[end]] = rng.uniform(0.0, most)
        return weights

    return sample


def _macro_weights(rng: np.random.Generator) -> dict[str, float]:
    """Weights of the race x sex x age and sex x age x muscle x weight targets of one person."""
    male = float(rng.beta(0.5, 0.5))  # mostly one or the other
    sexes = {"female": 1.0 - male, "male": male}
    races = dict(zip(_RACES, rng.dirichlet([0.5] * 3), strict=True))
    ages = _blend(_AGES, float(rng.beta(2.0, 2.0)))
    muscles = _blend(_MUSCLES, float(rng.uniform(0.1, 0.9)))
    builds = _blend(_WEIGHTS, float(rng.uniform(0.1, 0.9)))
    weights: dict[str, float] = {}
    for sex, sex_weight in sexes.items():
        for age, age_weight in ages.items():
            for race, race_weight in races.items():
                weights[f"macrodetails/{race}-{sex}-{age}"] = sex_weight * age_weight * race_weight
            for muscle, muscle_weight in muscles.items():
                for build, build_weight in builds.items():
                    key = f"macrodetails/universal-{sex}-{age}-{muscle}-{build}"
                    weights[key] = sex_weight * age_weight * muscle_weight * build_weight
    return weights


def _blend(names: tuple[str, str, str], position: float) -> dict[str, float]:
    """Linear weights of three targets at 0, 0.5 and 1 for a slider at ``position``."""
    low, high = max(0.0, 1.0 - 2.0 * position), max(0.0, 2.0 * position - 1.0)
    return dict(zip(names, (low, 1.0 - low - high, high), strict=True))
