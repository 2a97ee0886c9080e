"""MakeHuman proxy meshes: coarser heads, each vertex bound to three of the base mesh.

Upstream: ``NAME.proxy`` lists, after the line ``verts 0``, either one vertex of the base mesh or three with their
weights (and an offset, which is left out: it is a few tenths of a millimetre); ``NAME.obj`` has the faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raf_training.data.importers.meshes import read_head, read_text
from raf_training.errors import DataError

__all__ = ["read_proxies"]


def read_proxies(roots: Sequence[Path], kept: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Read every proxy below some folders.

    Parameters
    ----------
    roots
        Folders.
    kept
        ``(V,)`` the vertices of the base mesh that make the head, rising.

    Returns
    -------
    dict
        ``names``, and for each ``NAME_bind (P, 3) int32`` vertices of the head, ``NAME_weights (P, 3) float32``,
        ``NAME_faces (F, 4) int32``: the faces all of whose vertices are bound to the head alone.

    Raises
    ------
    DataError
        If there is none, or one is damaged.
    """
    files = {path.stem: path for root in roots for path in sorted(root.rglob("*.proxy"))}
    # a7_converter.proxy of the repository serves the program and has no mesh.
    files = {name: path for name, path in files.items() if path.with_suffix(".obj").is_file()}
    if not files:
        where = ", ".join(map(str, roots))
        raise DataError(
            f"{where}: there is no NAME.proxy with NAME.obj beside it; give makehuman-assets as well"
        )
    arrays: dict[str, NDArray[Any]] = {"names": np.array(sorted(files))}
    for name in sorted(files):
        bind, weights = _read_binding(files[name])
        vertices, faces = read_head(files[name].with_suffix(".obj"))
        if len(vertices) != len(bind):
            raise DataError(
                f"{files[name]} binds {len(bind):,} vertices, its mesh has {len(vertices):,}; restore both"
            )
        place = np.minimum(np.searchsorted(kept, bind), len(kept) - 1)
        inside = (kept[place] == bind).all(axis=1)
        own = faces[(inside[faces] | (faces < 0)).all(axis=1)]
        used = np.unique(own[own >= 0])
        if not len(used):
            raise DataError(f"{files[name]} binds no face to the head; leave it out of the folder")
        number = np.full(len(vertices), -1, np.int32)
        number[used] = np.arange(len(used))
        arrays[f"{name}_bind"] = place[used].astype(np.int32)
        arrays[f"{name}_weights"] = weights[used]
        arrays[f"{name}_faces"] = np.where(own < 0, -1, number[own]).astype(np.int32)
    return arrays


def _read_binding(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Vertices (P, 3) of the base mesh and their weights (P, 3)."""
    bind: list[list[int]] = []
    weights: list[list[float]] = []
    listing = False
    lines = read_text(path).splitlines()
    try:
        for line in lines:
            words = line.split()
            if listing and words and words[0].isdecimal():
                vertex = [int(word) for word in words[:3]]
                bind.append(vertex * 3 if len(words) == 1 else vertex)
                weights.append([1.0, 0.0, 0.0] if len(words) == 1 else [float(word) for word in words[3:6]])
            elif words:
                listing = words[0] == "verts"
        table = np.array(weights, np.float32).reshape(len(bind), 3)
        vertices = np.array(bind, np.int64).reshape(len(bind), 3)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path} is not a proxy, lines of three vertices and weights ({error})") from error
    if not len(bind) or vertices.min() < 0 or not np.isfinite(table).all():
        raise DataError(f"{path} binds no vertices, or by weights that are not finite; restore it")
    return vertices, table
