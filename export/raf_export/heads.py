"""Real heads at the numbers of vertices that every hop of an export is judged at.

One head, by default the example that ships, is subdivided and simplified to each size and goes through the runtime's
own preparation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray

from raf_runtime.contract import POSE_INPUT
from raf_runtime.errors import MeshError, MeshFileError, MeshFileNotFoundError
from raf_runtime.head import prepare_head
from raf_runtime.surface import Surface

__all__ = ["SIZES", "GateHead", "gate_heads", "shipped"]

SIZES = (200, 5_000, 20_000, 60_000)
HEAD_HEIGHT = 240.0  # mm
SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".gltf")
# Neither says what types it gives.
_subdivide: Any = trimesh.remesh.subdivide_loop
_simplify: Any = fast_simplification.simplify


@dataclass(frozen=True, slots=True)
class GateHead:
    """Inputs of the network, see :mod:`raf_runtime.contract`, and the mm of a canonical unit if it is 240 mm tall."""

    inputs: dict[str, NDArray[np.float32]]
    millimetres: float

    @property
    def vertices(self) -> int:
        """V, near the size that was wanted."""
        return len(self.inputs["positions"])

    def posed(self, pose: int, poses: int) -> GateHead:
        """The same head in one of so many poses, for a network that answers one at a time."""
        activation = np.zeros(poses, dtype=np.float32)
        activation[pose] = 1
        return GateHead({**self.inputs, POSE_INPUT: activation}, self.millimetres)


def shipped(name: str) -> Path:
    """A file that the SDK ships; the SDK itself is not imported."""
    package = find_spec("raf_sdk")
    if package is None or package.origin is None:
        raise MeshFileNotFoundError(f"raf_sdk/data/{name} is missing; install raf-sdk anew")
    return Path(package.origin).parent / "data" / name


@lru_cache(maxsize=1)
def gate_heads(eigenpairs: int, head: Path | None = None, sizes: tuple[int, ...] = SIZES) -> list[GateHead]:
    """Prepare a head at several sizes.

    Parameters
    ----------
    eigenpairs : int
        K.
    head : Path, optional
        An OBJ, PLY, STL, GLB or glTF file; the example head by default.
    sizes : tuple of int
        Numbers of vertices; a head of disconnected parts can keep a few more than 200.

    Raises
    ------
    MeshError
        If the file cannot be read or is not a surface.
    """
    vertices, faces = _read(shipped("example_head.obj") if head is None else head)
    surface = Surface.build(vertices, faces)
    result: list[GateHead] = []
    for size in sizes:
        prepared = prepare_head(*_resized(surface.vertices, surface.faces, size), eigenpairs)
        height = float(np.ptp(prepared.operators.positions[:, 1]))
        result.append(GateHead(prepared.operators.as_inputs(), HEAD_HEIGHT / height))
    return result


def _read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if not path.is_file():
        raise MeshFileNotFoundError(f"head {path} does not exist")
    if path.suffix.lower() not in SUFFIXES:
        raise MeshFileError(f"head {path} is none of {', '.join(SUFFIXES)}; convert it to one of them")
    try:
        mesh: Any = trimesh.load_mesh(path, process=False)
        return np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    except Exception as error:  # trimesh raises whatever its readers do
        raise MeshFileError(f"head {path} cannot be read: {error}") from error


def _resized(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        while len(vertices) < size:
            # Rounder than cutting triangles up, of which simplification leaves needles.
            vertices, faces = _subdivide(vertices, faces)
    except ValueError as error:
        raise MeshError(
            f"the head cannot be subdivided to {size} vertices ({error}); use another one"
        ) from error
    points, triangles, *_ = _simplify(
        vertices, faces.astype(np.int32), target_count=round(len(faces) * size / len(vertices))
    )
    return points.astype(np.float64), triangles.astype(np.int64)
