"""Build a folder of training samples: one safetensors file each, and a manifest that says what they are.

Sample i is drawn from its own random stream, seeded by (seed, split, i): a build can be interrupted, resumed and
enlarged, and gives the same files with any number of processes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tqdm import tqdm

from raf_training.data.blend import draw_blend, partners
from raf_training.data.consensus import DONORS, completed, donors_of, strange_of
from raf_training.data.retarget import Donor
from raf_training.data.rig_source import RigSource, Strange
from raf_training.data.samples import SampleOptions, draw_sample
from raf_training.data.sources import FAMILIES, check_families, load_families
from raf_training.data.wardrobe import ATTRIBUTION, Wardrobe, load_wardrobe
from raf_training.errors import DataError

__all__ = ["FACTOR", "SHARES", "SPLITS", "STRANGE", "BuildPlan", "blended", "build", "pick_source"]

# The first number of a sample's seed: training and held-out identities never share a stream.
SPLITS = {"train": 0, "val": 1}
# How often each family is drawn.
SHARES = {"ict": 0.38, "makehuman": 0.27, "vitruvian": 0.23, "animals": 0.12}
OWN_SHARE = 0.25  # of a family of one's own
MANIFEST = "manifest.json"
# Key in the metadata of a sample whose shapes are those for strangers to its rig.
STRANGE = "strange"
# Blends of each rigged head, as of each in the paper.
FACTOR = 25


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What to build: archives' folder, result's folder, families, split, number of samples, seed.

    ``factor`` is how many heads are blended for each fixed head that has others of its topology (see
    :mod:`raf_training.data.blend`); none for rigs that have identities.
    """

    data: Path
    out: Path
    families: tuple[str, ...]
    split: str
    samples: int
    seed: int
    options: SampleOptions = field(default_factory=SampleOptions)
    factor: int = FACTOR

    @property
    def averaged(self) -> tuple[str, ...]:
        """Families whose shapes are averaged for warped heads (see :mod:`raf_training.data.consensus`)."""
        donors = tuple(family for family in DONORS if family in self.families)
        return donors if self.options.warp_share and len(donors) > 1 else ()

    def manifest(self) -> dict[str, object]:
        """Everything that determines the samples, except how many there are."""
        # Blends are of one's own families alone: without these, they determine nothing.
        own = any(family not in FAMILIES for family in self.families)
        return {
            "families": list(self.families),
            "split": self.split,
            "seed": self.seed,
            **({"factor": self.factor} if own else {}),
            # Folders begun before rigs were lent shapes say otherwise, and are not enlarged.
            **(
                {"consensus": list(self.averaged), "strangers": "marked", "lent": True}
                if self.averaged
                else {}
            ),
            # Through JSON and back, so that it compares equal to one that was read.
            "options": json.loads(json.dumps(asdict(self.options))),
        }


def pick_source(
    sources: dict[str, RigSource], families: tuple[str, ...], rng: np.random.Generator
) -> RigSource:
    """Draw a family by its share, then one of its rigs; a base mesh, named like its family, is half of it."""
    shares = np.array([SHARES.get(family, OWN_SHARE) for family in families])
    family = families[rng.choice(len(families), p=shares / shares.sum())]
    others = [source for source in sources.values() if source.family == family and source.name != family]
    base = sources.get(family)
    if base is not None and (not others or rng.random() < 0.5):
        return base
    return others[rng.integers(len(others))]


def build(plan: BuildPlan, processes: int) -> None:
    """Draw the samples that the folder lacks.

    Raises
    ------
    DataError
        If a family is unknown, archives are missing or damaged, or the folder holds samples of another plan: nothing
        is written then. If a sample comes out with numbers that are not finite.
    """
    check_families(plan.data, plan.families)
    manifest = plan.out / MANIFEST
    if manifest.is_file() and not _fits(plan, manifest):
        raise DataError(f"{plan.out} holds samples of another plan ({manifest}); choose another folder")
    sources = _load(plan)
    _wardrobe(plan)  # a fault in it is found before anything is written
    plan.out.mkdir(parents=True, exist_ok=True)
    lines = {source.family: source.attribution for source in sources.values()}
    if plan.options.dress_share:
        lines["wardrobe"] = ATTRIBUTION
    _replace(manifest, json.dumps({**plan.manifest(), "attribution": lines}, indent=1))
    todo = [i for i in range(plan.samples) if not _path(plan, i).is_file()]
    # One BLAS thread a process: a sample is many small products. Read when the process loads NumPy.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    averaged = [name for name, source in sources.items() if source.family in plan.averaged]
    if rigs := [name for name in averaged if not _strange_path(plan, name).is_file()]:
        with ProcessPoolExecutor(processes, spawn, initializer=_start_averaging, initargs=(plan,)) as pool:
            for _ in tqdm(pool.map(_average, rigs), total=len(rigs), desc="consensus", unit="rig"):
                pass
    with ProcessPoolExecutor(processes, spawn, initializer=_start, initargs=(plan,)) as pool:
        for _ in tqdm(pool.map(_draw, todo, chunksize=4), total=len(todo), desc=plan.split, unit="sample"):
            pass


def _fits(plan: BuildPlan, manifest: Path) -> bool:
    try:
        found = json.loads(manifest.read_text())
    except ValueError as error:
        raise DataError(f"{manifest} is damaged ({error}); choose another folder") from error
    return all(found.get(key) == value for key, value in plan.manifest().items())


def _path(plan: BuildPlan, index: int) -> Path:
    return plan.out / f"{index:06d}.safetensors"


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _load(plan: BuildPlan) -> dict[str, RigSource]:
    """The rigs of one split: heads that are held out are drawn, and blended, for ``val`` alone."""
    wanted = (None, plan.split == "val")
    sources = load_families(plan.data, plan.families)
    return {name: source for name, source in sources.items() if source.held_out in wanted}


def _wardrobe(plan: BuildPlan) -> Wardrobe | None:
    return load_wardrobe(plan.data) if plan.options.dress_share else None


def blended(
    source: RigSource, others: Sequence[RigSource], rng: np.random.Generator, plan: BuildPlan
) -> RigSource:
    """Draw a head itself or one of its ``factor`` blends, each from a random stream of its own."""
    number = int(rng.integers(plan.factor + 1))
    if number == 0:
        return source
    stream = [plan.seed, SPLITS[plan.split], number, *source.name.encode()]
    return draw_blend(source, others, np.random.default_rng(stream))


def _strange_path(plan: BuildPlan, name: str) -> Path:
    return plan.out / "consensus" / f"{name.replace('/', '_')}.safetensors"


_averaging: tuple[BuildPlan, dict[str, RigSource], dict[str, Donor]]


def _start_averaging(plan: BuildPlan) -> None:
    global _averaging
    sources = _load(plan)
    _averaging = plan, sources, donors_of(sources)


def _average(name: str) -> None:
    plan, sources, donors = _averaging
    path = _strange_path(plan, name)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    strange = strange_of(sources[name], donors)
    save_file({"deltas": strange.deltas, "toward": strange.toward}, temporary)
    temporary.replace(path)


_state: tuple[BuildPlan, dict[str, RigSource], dict[str, list[RigSource]], Wardrobe | None]


def _start(plan: BuildPlan) -> None:
    global _state
    sources = _load(plan)
    for name, source in sources.items():
        if source.family in plan.averaged:
            sources[name] = completed(source, Strange(**load_file(_strange_path(plan, name))))
    _state = plan, sources, partners(list(sources.values())), _wardrobe(plan)


def _draw(index: int) -> None:
    plan, sources, others, wardrobe = _state
    rng = np.random.default_rng([plan.seed, SPLITS[plan.split], index])
    source = pick_source(sources, plan.families, rng)
    if source.name in others:
        source = blended(source, others[source.name], rng, plan)
    warped = source.is_alone or rng.random() < plan.options.warp_share
    arrays = draw_sample(source, rng, plan.options, wardrobe, warped)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise DataError(
                f"sample {index} of {source.name}: {name} overflows float16; its shapes move it too far: mend the rig"
            )
    temporary = _path(plan, index).with_suffix(".tmp")
    about = {"source": source.name}
    if warped and source.strange is not None:
        about[STRANGE] = "yes"
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary, metadata=about)
    temporary.replace(_path(plan, index))
