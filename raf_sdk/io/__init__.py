"""Meshes and rigs in, rigs out: OBJ, PLY, STL, GLB and glTF, never merging or reordering vertices."""

from __future__ import annotations

from raf_sdk.io._read import as_mesh, read_mesh
from raf_sdk.io._rig_read import read_rig
from raf_sdk.io._write import write_rig

__all__ = ["as_mesh", "read_mesh", "read_rig", "write_rig"]
