"""Unrigged heads, any mesh file, to one archive of the layout of ``rocketbox_neutral.npz``.

Axis legend: V vertices, S surface vertices, T triangles, N heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from trimesh.registration import procrustes

from raf_runtime.errors import MeshError
from raf_runtime.frame import estimate_frame
from raf_runtime.surface import Surface
from raf_sdk.io import read_mesh
from raf_training.data.archives import check_new, check_ragged, write_archive
from raf_training.data.blend import NEAREST, alike, is_poor
from raf_training.data.importers.meshes import Floats, expand
from raf_training.data.own import is_held_out
from raf_training.errors import DataError

__all__ = ["FACTOR", "import_neutral"]

# Blends of each unrigged head in the paper.
FACTOR: Final = 50
# What it returns depends on its arguments in ways that its type does not say.
_procrustes: Any = procrustes

_SUFFIXES: Final = (".obj", ".ply", ".stl", ".glb", ".gltf", ".vrm")


def import_neutral(paths: Sequence[Path], out: Path, *, factor: int = 0, seed: int = 0) -> str:
    """Write the archive.

    Parameters
    ----------
    paths
        Files of one head each, or folders of such files; Y up, +Z out of the face. The name of the file is the head's.
    out
        The archive, ``.npz``. Beside the layout of ``rocketbox_neutral.npz`` it says which heads are ``held_out``
        ``(N,) bool`` for tests: every fifth, and what is blended of these.
    factor
        How many heads are blended for each one that has others of its topology, on its side of that split; less the
        poor ones (see :mod:`raf_training.data.blend`).
    seed
        Of the blends.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    DataError
        If a file is missing or damaged, two have one name, or ``out`` cannot be written. Nothing is written then.
    """
    check_new(out)
    files = expand(paths, _SUFFIXES)
    heads = [_read(path, i, len(files)) for i, path in enumerate(tqdm(files, desc="heads", disable=None))]
    wanted = factor * sum(len(group) for group in _groups(heads))
    blends = list(tqdm(_blends(heads, factor, seed), total=wanted, desc="blends", disable=None))
    kept = [*heads, *(head for head in blends if head is not None)]
    arrays = {
        "names": np.array([head.name for head in kept]),
        "vertices": np.concatenate([head.vertices for head in kept]),
        "faces": np.concatenate([head.faces for head in kept]),
        "vertex_offsets": np.cumsum([0, *(len(head.vertices) for head in kept)]),
        "face_offsets": np.cumsum([0, *(len(head.faces) for head in kept)]),
        "held_out": np.array([head.held_out for head in kept]),
    }
    check_ragged(out, arrays)
    write_archive(out, arrays)
    return (
        f"{len(heads)} heads and {len(kept) - len(heads)} blends of them; "
        f"{len(blends) + len(heads) - len(kept)} poor ones dropped"
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    name: str
    vertices: Floats
    faces: NDArray[np.int32]
    held_out: bool


def _read(path: Path, index: int, count: int) -> _Head:
    try:
        mesh = read_mesh(path)
    except MeshError as error:
        raise DataError(str(error)) from error
    return _Head(path.stem, mesh.vertices, mesh.faces, bool(is_held_out(index, count)))


def _groups(heads: Sequence[_Head]) -> list[list[_Head]]:
    """Heads of one topology on one side of the split, two or more."""
    return [
        group
        for side in (False, True)
        for group in alike(
            [head for head in heads if head.held_out == side], lambda head: (len(head.vertices), head.faces)
        )
    ]


def _blends(heads: Sequence[_Head], factor: int, seed: int) -> Iterator[_Head | None]:
    """Yield the blends of every head, None for a poor one."""
    for group in _groups(heads) if factor else []:
        surface = Surface.build(group[0].vertices, group[0].faces)
        origin = np.zeros(len(surface.vertices), np.int64)
        used = np.flatnonzero(surface.from_input >= 0)
        origin[surface.from_input[used]] = used
        # All in the place of the first: what is between two heads that stand apart would be small and askew.
        target = group[0].vertices.astype(np.float64)
        places = [_procrustes(head.vertices, target, reflection=False)[1] for head in group]
        frame = estimate_frame(target[origin], surface.faces)
        seen = [frame.to_canonical(points[origin]) for points in places]
        part = surface.component.astype(np.int32)
        for i, head in enumerate(group):
            for number in range(factor):
                rng = np.random.default_rng([seed, number, *head.name.encode()])
                j = (i + int(rng.integers(1, len(group)))) % len(group)
                weight = float(rng.uniform(NEAREST, 1 - NEAREST))
                child = (1 - weight) * places[i] + weight * places[j]
                if is_poor(frame.to_canonical(child[origin]), (seen[i], seen[j]), surface.faces, part):
                    yield None
                    continue
                name = f"{head.name}+{group[j].name}+{number}"
                yield _Head(name, child.astype(np.float32), head.faces, head.held_out)
