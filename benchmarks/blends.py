"""What share of heads between two others is poor, on the shipped rigs: the table of docs/data.md.

python benchmarks/blends.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raf_runtime.surface import Surface
from raf_training.data.blend import NEAREST, POOR, blend, poorness
from raf_training.data.rocketbox import load_rocketbox
from raf_training.data.samples import plain_head
from raf_training.data.sources import RigSource, load_sources
from raf_training.data.warp import draw_warp

Doubles = NDArray[np.float64]


def between_identities(source: RigSource, pairs: int) -> Iterator[Doubles]:
    """Yield the poorness of blends of two identities of a rig, which ``raf-data build`` has no need of."""
    fixed = replace(source, modes=source.modes[:0])
    for pair in range(pairs):
        rng = np.random.default_rng([3, pair])
        first, second = (replace(fixed, neutral=source.identity(rng)) for _ in range(2))
        child = blend(first, second, float(rng.uniform(NEAREST, 1 - NEAREST)))
        heads = [plain_head(rig, rig.neutral) for rig in (child, first, second)]
        yield poorness(heads[0].vertices, [h.vertices for h in heads[1:]], heads[0].faces, source.part)


def between_warps(data: Path, pairs: int) -> Iterator[Doubles]:
    """Yield the same of Rocketbox heads, each warped in two ways."""
    heads = load_rocketbox(data)
    for pair in range(pairs):
        head = heads[7 * pair % len(heads)]
        rng = np.random.default_rng([5, pair])
        part = Surface.build(head.vertices, head.faces).component.astype(np.int32)
        first, second = (draw_warp(rng, float(rng.uniform(0.3, 1.2)))(head.vertices) for _ in range(2))
        weight = rng.uniform(NEAREST, 1 - NEAREST)
        child = (1 - weight) * first + weight * second
        yield poorness(child, (first, second), head.faces, part)


def main() -> None:
    """Print one line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives that raf-data makes")
    parser.add_argument("--pairs", type=int, default=200)
    options = parser.parse_args()
    for name in ("ict", "makehuman", "vitruvian", "rocketbox"):
        if name == "rocketbox":
            found = between_warps(options.data, options.pairs)
        else:
            found = between_identities(load_sources(options.data, [name])[name], options.pairs)
        poor = np.stack(list(found)) > POOR
        shares = [poor.any(axis=1).mean(), *poor.mean(axis=0)]
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
