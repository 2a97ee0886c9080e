"""The result: a neutral mesh and one displacement field for each named pose."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from raf_runtime.errors import MeshError, PoseNameError
from raf_sdk._mesh import Mesh

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from raf_sdk._report import Report

__all__ = ["Rig", "find_poses"]


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """A linear blendshape rig; vertex i is vertex i of the input.

    Attributes
    ----------
    mesh
        The neutral, with its polygons, texture coordinates and groups.
    names
        P unique pose names.
    deltas
        (P, V, 3) float32 displacements from the neutral at full weight, input unit and frame; read-only.

    Raises
    ------
    MeshError
        Names, displacements and mesh do not fit each other, or a displacement is not finite.
    """

    mesh: Mesh
    names: tuple[str, ...]
    deltas: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check that the parts fit and make the displacements read-only."""
        names = tuple(self.names)
        deltas = np.ascontiguousarray(self.deltas, dtype=np.float32).view()
        shape = (len(names), len(self.mesh.vertices), 3)
        if deltas.shape != shape:
            raise MeshError(f"deltas have shape {deltas.shape}; names and mesh ask for {shape}")
        if len(set(names)) != len(names) or "" in names:
            raise MeshError("pose names must be unique and not empty")
        if not np.isfinite(deltas).all():
            pose, vertex, _ = np.argwhere(~np.isfinite(deltas))[0]
            raise MeshError(f"the displacement of vertex {vertex} in pose {names[pose]!r} is not finite")
        deltas.flags.writeable = False
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "deltas", deltas)

    @property
    def vertices(self) -> NDArray[np.float32]:
        """(V, 3) float32 neutral vertices, input unit and frame."""
        return self.mesh.vertices

    @property
    def faces(self) -> NDArray[np.int32]:
        """(T, 3) int32 triangles; ``mesh`` holds the polygons they were split from."""
        return self.mesh.faces

    def evaluate(self, weights: Mapping[str, float]) -> NDArray[np.float32]:
        """Add the weighted poses to the neutral.

        Parameters
        ----------
        weights
            Pose name -> weight; 0 is the neutral and 1 the full pose. Other values extrapolate.

        Returns
        -------
        ndarray
            (V, 3) float32 vertices, input unit and frame.

        Raises
        ------
        PoseNameError
            A name that the rig does not have.
        """
        result = self.vertices.copy()
        for row, weight in zip(find_poses(weights, self.names), weights.values(), strict=True):
            result += np.float32(weight) * self.deltas[row]
        return result

    def select(self, names: Iterable[str]) -> Rig:
        """Keep some of the poses.

        Parameters
        ----------
        names
            Unique pose names; the result has them in this order.

        Returns
        -------
        Rig
            Of the same mesh.

        Raises
        ------
        PoseNameError
            A name that the rig does not have.
        """
        rows = find_poses(names, self.names)
        return Rig(self.mesh, tuple(self.names[row] for row in rows), self.deltas[rows])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rig in the format that the suffix names; nothing is left behind on failure.

        ``.glb``, ``.gltf`` (and its ``.bin``): the file that the mesh was read from, if that was GLB, glTF or VRM, with
        the poses as named morph targets of all of its meshes that move, and everything else in it as it was, but for
        compressed data, which is unpacked; otherwise one mesh, with the colours and textures of an OBJ. ``.vrm``: the
        same, of a VRM. ``.npz``: ``names``, ``deltas``, ``vertices``, ``faces``. ``head.obj``: a folder ``head/`` with
        ``neutral.obj`` and one OBJ for each pose.

        Parameters
        ----------
        path
            The file to write; an existing file is replaced, except the one that the mesh was read from. For
            OBJ, an existing folder is replaced only if it is empty or holds nothing but an earlier rig.

        Raises
        ------
        OutputError
            Unknown suffix, missing parent folder, no permission, full disk, or the path of the input mesh; the file
            that the mesh was read from is damaged.
        """
        from raf_sdk.io import write_rig

        write_rig(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Rig:
        """Read the ARKit shapes of a rig that any tool made.

        Parameters
        ----------
        path
            A ``.glb``, ``.gltf`` or ``.vrm`` file with morph targets (all meshes of the scene are one head, and
            targets of one name one shape), or an ``.npz`` file or folder of OBJ files as :meth:`save` writes them.

        Returns
        -------
        Rig
            With names as in the file. They may be spelled ``eyeBlink_L`` or ``head.EyeBlinkLeft``; shapes that are
            none of ARKit's are left out.

        Raises
        ------
        MeshFileError
            The file cannot be read, or has no such shape.
        """
        from raf_sdk.check import arkit_name
        from raf_sdk.io import read_rig

        return read_rig(path, arkit_name)

    def check(self) -> Report:
        """Check by geometry that every shape does what its name says, and nothing else.

        Returns
        -------
        Report
            One check for each question and shape, each with a figure, a bar and a verdict; ``print`` it.

        Raises
        ------
        MeshError
            The mesh is no surface.
        """
        from raf_sdk.check import check_rig

        return check_rig(self)

    def preview(self, path: str | os.PathLike[str], report: Report | None = None) -> None:
        """Write a contact sheet: the neutral and every pose, shaded, labelled and facing the viewer.

        Parameters
        ----------
        path
            A ``.png`` file; its folder must exist.
        report
            From :meth:`check`: shapes that failed get a red frame and the names of the checks.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from raf_runtime.frame import estimate_frame
        from raf_runtime.head import head_on_body
        from raf_runtime.surface import Surface
        from raf_sdk._preview import contact_sheet

        surface = Surface.build(self.vertices, self.faces)
        frame = estimate_frame(surface.vertices, surface.faces, component=surface.component)
        head = head_on_body(surface, frame, self.faces)
        faces = self.faces if head is None else head
        flaws: dict[str, str] = {}
        if report is not None:
            from raf_sdk.check import arkit_name

            found = report.flaws
            flaws = {name: found[shape] for name in self.names if (shape := arkit_name(name) or "") in found}
        contact_sheet(
            self.vertices, faces, self.deltas, self.names, Path(path), rotation=frame.rotation, flaws=flaws
        )


def find_poses(names: Iterable[str], known: Sequence[str]) -> list[int]:
    """Look up poses by name.

    Parameters
    ----------
    names
        The poses to find.
    known
        The names of a rig or a model.

    Returns
    -------
    list of int
        Where each name stands in ``known``.

    Raises
    ------
    PoseNameError
        A name that is not there.
    """
    row = {name: i for i, name in enumerate(known)}
    rows: list[int] = []
    for name in names:
        if name not in row:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "see Rig.names for those it has"
            raise PoseNameError(f"the rig has no pose {name!r}; {hint}")
        rows.append(row[name])
    return rows
