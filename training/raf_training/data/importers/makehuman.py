"""MakeHuman hm08: base mesh, targets, ARKit face units and proxy meshes to ``makehuman_heads.npz`` and
``makehuman_proxies.npz``.

Upstream: github.com/makehumancommunity/makehuman, ``makehuman/data`` (``3dobjs/base.obj``, ``targets/``); the asset
pack ``faceunits01`` (52 ``.target`` files with ARKit names); github.com/makehumancommunity/makehuman-assets,
``base/proxymeshes``. A target lists ``vertex dx dy dz``, in dm, of the vertices that it moves.
"""  # noqa: D205

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
from raf_sdk.io import read_mesh
from raf_training.data.archives import check_new, write_archive
from raf_training.data.importers.meshes import Faces, Floats, find_one, quads, read_text
from raf_training.data.importers.proxies import read_proxies
from raf_training.errors import DataError

__all__ = ["import_makehuman"]

# Folders of targets that move a head. Their order, and the alphabet within, is the order of the identity modes.
_FOLDERS: Final = (
    *("head", "nose", "mouth", "eyes", "ears", "chin", "cheek", "forehead", "neck", "eyebrows"),
    *("macrodetails", "asym"),
)
# What is kept of the base mesh: the body above this height (dm), which is the head with the neck, and these helpers.
_NECK: Final = 5.75
_BODY: Final = "body"
_HELPERS: Final = (
    *("helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue"),
    *("helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"),
)
_VERTICES: Final = 19158  # of hm08


def import_makehuman(
    roots: Sequence[Path], out: Path, proxies: Path | None = None, *, partial: bool = False
) -> str:
    """Write the archives.

    Parameters
    ----------
    roots
        Folders that together hold ``3dobjs/base.obj`` with ``targets`` beside it, the face units, and the proxy
        meshes where these are wanted.
    out
        The archive of heads, ``.npz``; in dm, float16 displacements.
    proxies
        The archive of proxies; None for none.
    partial
        Take the face units and the folders of targets that are there; else all must be.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    DataError
        If a file is missing or damaged, a target moves a vertex that hm08 has not, or an archive cannot be written.
        Nothing is written then.
    """
    for path in (out, proxies):
        if path is not None:
            check_new(path)
    crop = _Crop.read(find_one(roots, "3dobjs/base.obj", "MakeHuman's base mesh"))
    targets = crop.path.parents[1] / "targets"
    units = find_one(roots, "jawOpen.target", "the ARKit face units").parent
    folders = {name: sorted((targets / name).glob("*.target")) for name in _FOLDERS}
    shapes = {pose: units / f"{pose}.target" for pose in ARKIT_POSES}
    absent = [f"{targets / name}" for name, files in folders.items() if not files]
    absent += [str(path) for path in shapes.values() if not path.is_file()]
    if absent and not partial:
        raise DataError(
            f"{absent[0]} is missing or empty, as are {len(absent) - 1} others; fetch the repository and the face "
            "units whole, or take what is there with --partial"
        )
    poses = [pose for pose, path in shapes.items() if path.is_file()]
    expressions = [crop.target(shapes[pose]) for pose in tqdm(poses, desc="face units", disable=None)]
    identities: dict[str, NDArray[np.float16]] = {}
    files = [(name, path) for name, paths in folders.items() for path in paths]
    for name, path in tqdm(files, desc="targets", disable=None):
        deltas = crop.target(path)
        if deltas.any():  # a target that leaves the head alone is none of the head's
            identities[f"{name}/{path.stem}"] = deltas
    bound = read_proxies(roots, crop.kept) if proxies is not None else {}
    write_archive(
        out,
        {
            "vertices": crop.vertices[crop.kept],
            "faces": crop.faces,
            "uv": crop.uv,
            "faces_uv": crop.faces_uv,
            "face_part": crop.part,
            "part_names": np.array([_BODY, *_HELPERS]),
            "identity_names": np.array(list(identities)),
            "identity_deltas": np.stack(list(identities.values())),
            "expression_names": np.array(poses),
            "expression_deltas": np.stack(expressions),
        },
    )
    if proxies is not None:
        write_archive(proxies, bound)
    return f"{len(poses)} expressions and {len(identities)} sliders of {len(crop.kept):,} vertices"


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """The head of the base mesh: vertices of the whole mesh, and faces that count the kept ones alone."""

    path: Path
    vertices: Floats
    kept: NDArray[np.int64]
    faces: Faces
    uv: Floats
    faces_uv: Faces
    part: NDArray[np.int8]

    @classmethod
    def read(cls, path: Path) -> _Crop:
        try:
            mesh = read_mesh(path)
        except MeshError as error:
            raise DataError(str(error)) from error
        sizes = mesh.face_sizes
        if len(mesh.vertices) != _VERTICES or mesh.uvs is None or mesh.uv_indices is None or sizes.max() > 4:
            raise DataError(
                f"{path} has {len(mesh.vertices):,} vertices; hm08 has {_VERTICES:,}, quads and texture coordinates: "
                "restore the file"
            )
        part = np.full(len(sizes), -1, np.int8)
        for group in mesh.groups:
            if group.name in (_BODY, *_HELPERS):
                run = slice(group.first_face, group.first_face + group.face_count)
                part[run] = (_BODY, *_HELPERS).index(group.name)
        faces = quads(mesh.face_indices, sizes)
        above = (mesh.vertices[:, 1] > _NECK)[faces].all(axis=1)
        inside = (part > 0) | ((part == 0) & above)
        if len(np.unique(part[inside])) != 1 + len(_HELPERS):
            raise DataError(
                f"{path} lacks one of the groups {_BODY}, {', '.join(_HELPERS)}; restore the file"
            )
        kept = np.unique(faces[inside]).astype(np.int64)
        number = np.full(_VERTICES, -1, np.int32)
        number[kept] = np.arange(len(kept))
        return cls(
            path,
            mesh.vertices,
            kept,
            number[faces[inside]],
            mesh.uvs,
            quads(mesh.uv_indices, sizes)[inside],
            part[inside],
        )

    def target(self, path: Path) -> NDArray[np.float16]:
        """Displacements (V, 3) of the kept vertices."""
        lines = read_text(path).splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        try:
            table = np.array(rows, np.float64).reshape(len(rows), 4)
        except ValueError as error:
            raise DataError(f"{path} is not a target, lines of `vertex dx dy dz` ({error})") from error
        index = table[:, 0]
        proper = (index >= 0) & (index < _VERTICES) & (index == np.floor(index))
        proper &= (np.abs(table[:, 1:]) < np.finfo(np.float16).max).all(axis=1)
        if not proper.all():
            row = " ".join(rows[int(np.argmin(proper))])
            raise DataError(
                f"{path}: {row!r} does not move one of the {_VERTICES:,} vertices of hm08 by a finite distance; "
                "it is of another mesh, or damaged"
            )
        moved = np.zeros((_VERTICES, 3), np.float16)
        moved[index.astype(np.int64)] = table[:, 1:]
        return moved[self.kept]
