"""What a mesh or model file holds, in words: the text of ``raf info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from raf_runtime.contract import META_ATTRIBUTION, META_COMMIT, META_VERSION
from raf_runtime.errors import MeshError
from raf_runtime.session import Session
from raf_runtime.surface import Surface
from raf_sdk.io import read_mesh

if TYPE_CHECKING:
    from pathlib import Path

    from raf_sdk._mesh import Mesh

__all__ = ["describe_mesh", "describe_model"]

_GROUPS_SHOWN = 12


def describe_mesh(path: Path) -> dict[str, str]:
    """Describe a mesh file and what would be computed on.

    Parameters
    ----------
    path
        A file that :func:`raf_sdk.io.read_mesh` reads.

    Returns
    -------
    dict
        Label -> text, in reading order.

    Raises
    ------
    MeshFileError
        The file cannot be read.
    """
    mesh = read_mesh(path)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    lines = {
        "file": str(path),
        "vertices": f"{len(mesh.vertices):,}",
        "polygons": f"{len(mesh.face_sizes):,} ({_polygons(mesh)})",
        "triangles": f"{len(mesh.faces):,}",
        "bounding box": f"{_numbers(high - low, ' x ')}, from ({_numbers(low)}) to ({_numbers(high)})",
        "texture": "none" if mesh.uvs is None else f"{len(mesh.uvs):,} coordinates",
        "groups": _groups(mesh),
    }
    try:
        surface = Surface.build(mesh.vertices, mesh.faces)
    except MeshError as error:
        return lines | {"can be rigged": f"no: {error}"}
    unused = int((surface.from_input < 0).sum())
    return lines | {
        "welded": f"{_count(len(surface.vertices), 'vertex')}, {_count(len(surface.faces), 'triangle')}",
        "components": f"{int(surface.component.max()) + 1:,}",
        "set aside": f"{_count(surface.set_aside, 'collapsed or repeated triangle')}, "
        f"{_count(unused, 'vertex')} without a triangle",
        "can be rigged": "yes",
    }


def describe_model(path: Path) -> dict[str, str]:
    """Describe a model file by what it says of itself.

    Parameters
    ----------
    path
        An ONNX file.

    Returns
    -------
    dict
        Label -> text, in reading order.

    Raises
    ------
    ModelFileNotFoundError, ModelError
        There is no such file, or it is no model of this package.
    """
    session = Session(path, "cpu")
    said = session.metadata
    return {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "contract": said[META_VERSION],
        "eigenpairs": str(session.eigenpairs),
        "poses": f"{len(session.poses)}: {', '.join(session.poses)}",
        "trained at": said.get(META_COMMIT, "not said"),
        "trained on": said.get(META_ATTRIBUTION, "not said"),
    }


def _count(number: int, noun: str) -> str:
    plural = noun.removesuffix("ex") + "ices" if noun.endswith("ex") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


def _polygons(mesh: Mesh) -> str:
    names = {3: "triangle", 4: "quad", 5: "larger polygon"}
    sizes, counts = np.unique(np.minimum(mesh.face_sizes, 5), return_counts=True)
    return ", ".join(
        _count(count, names[size]) for size, count in zip(sizes.tolist(), counts.tolist(), strict=True)
    )


def _groups(mesh: Mesh) -> str:
    shown = [f"{group.name or '(no name)'} {group.face_count:,}" for group in mesh.groups[:_GROUPS_SHOWN]]
    more = len(mesh.groups) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more else shown) or "none"


def _numbers(values: np.ndarray[tuple[int], np.dtype[np.float32]], separator: str = ", ") -> str:
    return separator.join(f"{value:.4g}" for value in values)
