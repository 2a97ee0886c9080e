"""The rigger: a model and a device, ready to rig any number of heads."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raf_runtime.head import PreparedHead, prepare_head
from raf_runtime.session import Session
from raf_sdk._mesh import Mesh
from raf_sdk._rig import Rig
from raf_sdk.io import as_mesh

if TYPE_CHECKING:
    import os

    import trimesh
    from numpy.typing import ArrayLike

    MeshLike = str | os.PathLike[str] | trimesh.Trimesh | tuple[ArrayLike, ArrayLike] | Mesh

__all__ = ["SHIPPED_MODEL", "Prepared", "Rigger"]

_log = logging.getLogger("raf_sdk")

SHIPPED_MODEL = Path(__file__).parent / "data" / "model.onnx"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A mesh with everything that rigging it needs; made by :meth:`Rigger.prepare`."""

    mesh: Mesh
    head: PreparedHead


class Rigger:
    """Turns neutral heads into rigs.

    Parameters
    ----------
    model
        An ONNX file made by ``raf-export``, or an engine (``.engine``) that it built for this GPU; the model that
        ships with the package by default.
    device
        ``"auto"`` takes the first of TensorRT, CUDA and the CPU that can be used and agrees with the CPU, and logs
        which (logger ``raf_runtime``). ``"cpu"``, ``"cuda"``, ``"tensorrt"`` and ``"coreml"`` take that one or none.
    threads
        Threads for the network on the CPU; by default one for each physical core that the process may use. NumPy and
        SciPy have settings of their own, such as ``OMP_NUM_THREADS``.
    cache
        True keeps prepared heads in the user's cache folder, a path in that folder, so that a mesh that comes again
        is not prepared again. Off by default.

    Raises
    ------
    ModelFileNotFoundError, ModelError
        The model is missing or is not one of this package.
    DeviceError
        The device is unknown or cannot be had; the message says what to install.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        *,
        cache: bool | str | os.PathLike[str] = False,
    ) -> None:
        self._session = Session(SHIPPED_MODEL if model is None else Path(model), device, threads)
        self._prepare = prepare_head
        if cache is not False:
            from raf_sdk._cache import HeadCache

            self._prepare = HeadCache(None if cache is True else Path(cache)).prepare

    @property
    def device(self) -> str:
        """The device that was obtained: ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"coreml"``."""
        return self._session.device

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the poses that a rig will have."""
        return self._session.poses

    def prepare(self, mesh: MeshLike) -> Prepared:
        """Do the part of rigging that does not depend on the model's weights, to use it more than once.

        Parameters
        ----------
        mesh
            As for :meth:`rig`.

        Raises
        ------
        MeshError
            The mesh cannot be read or is not a surface.
        """
        read = as_mesh(mesh)
        return Prepared(read, self._prepare(read.vertices, read.faces, self._session.eigenpairs))

    def rig(self, mesh: MeshLike | Prepared) -> Rig:
        """Predict every pose of a neutral head.

        Where no face was recognised for sure, as in a mesh without one, a warning is logged (logger ``raf_sdk``).

        Parameters
        ----------
        mesh
            A path to an OBJ, PLY, STL, GLB or glTF file, a ``trimesh.Trimesh``, a ``(vertices, faces)`` pair, a
            :class:`Mesh`, or what :meth:`prepare` returned. Any unit, any axis up.

        Returns
        -------
        Rig
            Vertex i is vertex i of the input; displacements are in its unit and frame.

        Raises
        ------
        MeshError
            The mesh cannot be read or is not a surface.
        ModelError
            The model fails on this mesh.
        """
        prepared = mesh if isinstance(mesh, Prepared) else self.prepare(mesh)
        if not prepared.head.frame.sure:
            name = prepared.mesh.source.name if prepared.mesh.source else "the mesh"
            _log.warning(
                "%s may not show a face: look at the rig (Rig.preview, Rig.check) before it is used", name
            )
        displacements = self._session.run(prepared.head.operators)
        return Rig(prepared.mesh, self.names, prepared.head.finish(displacements, self.names))
