"""Rigs with ARKit-named morph targets, GLB or glTF, to an archive that is a family of its own.

A folder of OBJ files or an ``.npz`` as ``Rig.save`` writes them will do as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from raf_runtime.contract import ARKIT_POSES
from raf_runtime.errors import MeshError
from raf_runtime.frame import Frame
from raf_runtime.head import head_on_body
from raf_runtime.names import match_names
from raf_runtime.surface import Surface
from raf_sdk.io import read_rig
from raf_training.data.archives import Arrays, check_new, write_archive
from raf_training.data.importers.meshes import Floats, expand
from raf_training.data.own import own_sources
from raf_training.data.rig_source import RigSource
from raf_training.errors import DataError

__all__ = ["import_gltf"]

_SUFFIXES: Final = (".glb", ".gltf", ".vrm")


def import_gltf(
    paths: Sequence[Path], out: Path, *, attribution: str | None = None, partial: bool = False
) -> str:
    """Write the archive; its name is the family's.

    Vertices that exporters split at seams of normals and texture coordinates are joined, and of a whole character only
    the head is taken, as before a rig is predicted.

    Parameters
    ----------
    paths
        Files of one head or character each, or folders of such files. The name of the file is the head's.
    out
        The archive, ``.npz``.
    attribution
        What is to be said wherever weights learned from these heads go.
    partial
        Take rigs that lack ARKit shapes, and leave out shapes that are none; else a rig has the 52 and no other.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    DataError
        If a file is missing or damaged, lacks a shape, has an unknown one, or is not a head that
        :func:`raf_training.data.own.own_sources` takes; if ``out`` cannot be written. Nothing is written then.
    """
    check_new(out)
    files = expand(paths, _SUFFIXES)
    heads = [_read(path, partial) for path in tqdm(files, desc="rigs", unit="file", disable=None)]
    said = attribution or f"{out.stem}: rigs of the one who trained, no licence stated"
    names = [path.stem for path in files]
    heads, bodies = _without_bodies(heads, own_sources(out, _arrays(names, heads, said)))
    arrays = _arrays(names, heads, said)
    sources = own_sources(out, arrays)
    write_archive(out, arrays)
    held_out = sum(bool(source.held_out) for source in sources)
    cut = f", {bodies} cut from their bodies" if bodies else ""
    return f"{len(heads)} heads, {held_out} of them held out for tests{cut}"


@dataclass(frozen=True, slots=True)
class _Rig:
    vertices: Floats
    faces: NDArray[np.int32]
    deltas: Floats
    mask: NDArray[np.bool_]


def _arrays(names: list[str], heads: list[_Rig], attribution: str) -> Arrays:
    vertices, faces = [head.vertices for head in heads], [head.faces for head in heads]
    return {
        "names": np.array(names),
        "vertices": np.concatenate(vertices),
        "faces": np.concatenate(faces),
        "vertex_offsets": np.cumsum([0, *map(len, vertices)]),
        "face_offsets": np.cumsum([0, *map(len, faces)]),
        "expression_names": np.array(ARKIT_POSES),
        "expression_deltas": np.concatenate([head.deltas for head in heads], axis=1),
        "expression_mask": np.stack([head.mask for head in heads]),
        "attribution": np.array(attribution),
    }


def _without_bodies(heads: list[_Rig], sources: list[RigSource]) -> tuple[list[_Rig], int]:
    """The heads alone, and of how many there was a body; those of one topology are cut alike, and can be blended."""
    result, bodies = list[_Rig](), 0
    kept: dict[bytes, NDArray[np.integer] | None] = {}
    for head, source in zip(heads, sources, strict=True):
        topology = head.faces.tobytes()
        if topology not in kept:
            frame = Frame.from_anchors(source.anchors(head.vertices))
            kept[topology] = head_on_body(Surface.build(head.vertices, head.faces), frame, head.faces)
        faces = kept[topology]
        if faces is not None:
            used, corners = np.unique(faces, return_inverse=True)
            faces = corners.reshape(-1, 3).astype(np.int32)
            head = _Rig(head.vertices[used], faces, head.deltas[:, used], head.mask)
            bodies += 1
        result.append(head)
    return result, bodies


def _read(path: Path, partial: bool) -> _Rig:
    seen: dict[str, None] = {}

    def wanted(name: str) -> bool:
        seen[name] = None
        return bool(match_names([name]))

    try:
        rig = read_rig(path, wanted)
        surface = Surface.build(rig.vertices, rig.faces)
    except MeshError as error:
        text = str(error)
        raise DataError(text if text.startswith(str(path)) else f"{path}: {text}") from error
    rows = match_names(rig.names)
    unknown = [name for name in seen if not match_names([name])]
    absent = [pose for pose in ARKIT_POSES if pose not in rows]
    if (unknown or absent) and not partial:
        found = [f"lacks {', '.join(absent)}"] if absent else []
        found += [f"has {', '.join(repr(name[:40]) for name in unknown)}, none of ARKit's"] if unknown else []
        raise DataError(
            f"{path} {' and '.join(found)}; mend the rig, or take the ARKit shapes it has with --partial"
        )
    first = np.zeros(len(surface.vertices), np.int64)
    used = np.flatnonzero(surface.from_input >= 0)[::-1]
    first[surface.from_input[used]] = used  # of the vertices that are joined, the first in the file
    deltas = np.zeros((len(ARKIT_POSES), len(first), 3), np.float32)
    for pose, added in rows.items():
        deltas[ARKIT_POSES.index(pose)] = rig.deltas[list(added)][:, first].sum(axis=0)
    mask = np.array([pose in rows for pose in ARKIT_POSES])
    return _Rig(rig.vertices[first], surface.faces.astype(np.int32), deltas, mask)
