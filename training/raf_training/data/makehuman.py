"""MakeHuman: one base head, its sliders, and the coarser proxy meshes bound to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from raf_runtime.contract import ARKIT_POSES

from raf_training.data.rig_source import RigSource, Sampler, arkit_deltas, build_source, read_archive

__all__ = ["load_makehuman", "makehuman_sampler"]

ATTRIBUTION: Final = "MakeHuman base mesh, targets and proxies, CC0; ARKit face units by Mika Suominen, CC0"

_RACES: Final = ("african", "asian", "caucasian")
_AGES: Final = ("child", "young", "old")
_MUSCLES: Final = ("minmuscle", "averagemuscle", "maxmuscle")
_WEIGHTS: Final = ("minweight", "averageweight", "maxweight")

# A slider moves with this chance, up to this weight. Heads get odd, then broken, beyond about twice as much.
_SLIDER_CHANCE: Final = 0.3
_SLIDER_MAX: Final = 0.6
_ASYMMETRY_MAX: Final = 0.3

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
    head = read_archive(data_dir / "makehuman_heads.npz")
    proxies = read_archive(data_dir / "makehuman_proxies.npz")
    table = {pose: {pose: 1.0} for pose in ARKIT_POSES}
    deltas, mask = arkit_deltas(table, head["expression_names"].tolist(), head["expression_deltas"])
    sample = makehuman_sampler(head["identity_names"].tolist())
    modes = head["identity_deltas"]

    def source(name: str, faces: NDArray[np.int32], bind: NDArray[np.int32], by: NDArray[np.float32]) -> RigSource:
        def carry(fields: NDArray[np.floating]) -> NDArray[np.float32]:
            """(..., V_head, 3) -> (..., V_proxy, 3)."""
            return np.einsum("pk,...pkc->...pc", by, fields[..., bind, :].astype(np.float32))

        return build_source(
            name=name,
            family="makehuman",
            attribution=ATTRIBUTION,
            faces=faces,
            neutral=carry(head["vertices"]),
            deltas=carry(deltas),
            mask=mask,
            modes=np.stack([carry(mode).astype(np.float16) for mode in modes]),
            sample_weights=sample,
            keep_face_size=True,
        )

    itself = np.arange(len(head["vertices"]), dtype=np.int32)[:, None]
    sources = [source("makehuman", head["faces"], itself, np.ones(itself.shape, np.float32))]
    for proxy in proxies["names"].tolist():
        arrays = (proxies[f"{proxy}_{key}"] for key in ("faces", "bind", "weights"))
        sources.append(source(f"makehuman/{proxy}", *arrays))
    return sources


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

    def sample(rng: np.random.Generator) -> NDArray[np.float32]:
        weights = np.zeros(len(names), np.float32)
        for name, weight in _macro_weights(rng).items():
            if name in index:  # targets that leave the head alone are not in the archive
                weights[index[name]] = weight
        for slider, ends in sliders.items():
            if rng.random() < _SLIDER_CHANCE:
                end = list(ends)[rng.integers(len(ends))]
                most = _ASYMMETRY_MAX if slider.startswith("asym/") else _SLIDER_MAX
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
