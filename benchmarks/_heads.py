"""Meshes to measure on: the ICT head as a file, and a made-up scan of very many triangles."""

from __future__ import annotations

from pathlib import Path

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray

from raf_sdk._mesh import Mesh
from raf_training.data.archives import read_archive
from raf_training.data.sources import load_sources

__all__ = ["write_ict", "write_scan"]

# Standard deviation of a scan's noise along the normals, as a share of the diagonal: about 0.1 mm on a head.
NOISE = 2.5e-4


def write_ict(data: Path, folder: Path) -> dict[str, Path]:
    """Write ICT's mean head as OBJ: all parts, with upstream's quads and UVs, and the skin alone."""
    source = load_sources(data, ["ict"])["ict"]
    archive = read_archive(data / "ict_facekit.npz")
    skin = source.part == np.bincount(source.part).argmax()
    everything = np.ones_like(skin)
    paths = {"ict": folder / "ict.obj", "ict skin": folder / "ict_skin.obj"}
    for path, kept in zip(paths.values(), (everything, skin), strict=True):
        inside = kept[source.faces[:, 0]]
        renumber = np.cumsum(kept) - 1
        faces, corners = renumber[source.faces[inside]] + 1, archive["faces_uv"][inside] + 1
        lines = ["v {:.6g} {:.6g} {:.6g}".format(*row) for row in source.neutral[kept].tolist()]
        lines += ["vt {:.6g} {:.6g}".format(*row) for row in archive["uv"].tolist()]
        sizes = np.where(source.faces[inside, 3] >= 0, 4, 3)
        for face, corner, size in zip(faces.tolist(), corners.tolist(), sizes.tolist(), strict=True):
            lines.append("f " + " ".join(f"{v}/{t}" for v, t in zip(face[:size], corner[:size], strict=True)))
        path.write_text("\n".join(lines) + "\n")
    return paths


def write_scan(mesh: Mesh, triangles: int, path: Path) -> int:
    """Turn a head into something like a scan: a fine, irregular, slightly noisy surface; as binary PLY.

    Every triangle is split into four until there are enough, the vertices are moved along their normals at
    random, and edges are collapsed until ``triangles`` are left.

    Returns
    -------
    int
        How many triangles were written.
    """
    vertices: NDArray[np.float64] = mesh.vertices.astype(np.float64)
    faces: NDArray[np.int64] = mesh.faces.astype(np.int64)
    while len(faces) < triangles:
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)[:2]
    surface = trimesh.Trimesh(vertices, faces, process=False)
    noise = NOISE * np.linalg.norm(np.ptp(vertices, axis=0))
    offset = noise * np.random.default_rng(0).normal(size=(len(vertices), 1))
    simplified = fast_simplification.simplify(
        (vertices + offset * surface.vertex_normals).astype(np.float32),
        faces.astype(np.int32),
        target_count=triangles,
    )
    trimesh.Trimesh(simplified[0], simplified[1], process=False).export(path)
    return len(simplified[1])
