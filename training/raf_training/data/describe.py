"""What training needs to know of a head, once it is drawn.

Axis legend: V input vertices, S surface vertices of the head, T triangles, P poses, K eigenpairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from raf_runtime.neck import cut
from raf_runtime.operators import Operators
from raf_runtime.surface import Surface

__all__ = ["describe"]


def describe(
    surface: Surface, deltas: NDArray[np.floating], mask: NDArray[np.bool_], eigenpairs: int
) -> dict[str, NDArray[np.generic]]:
    """Cut a head at the neck, as the runtime does, and compute its operators.

    Parameters
    ----------
    surface : Surface
        In canonical coordinates.
    deltas : (P, V, 3) float
        Displacements of its input vertices.
    mask : (P,) bool
        Which of the poses the rig has.
    eigenpairs : int
        K.

    Returns
    -------
    dict
        The network's inputs under their contract names, float16 except for ``positions``, ``mass`` and
        ``eigenvalues``; ``deltas (P, S, 3) float16``; ``mask (P,) bool``; ``faces (T, 3) int32``, for rendering.
    """
    surface, _ = cut(surface, surface.vertices)
    operators = Operators.build(surface.vertices, surface.faces, surface.component, eigenpairs)
    origin = np.zeros(len(surface.vertices), dtype=np.int64)
    used = surface.from_input >= 0
    origin[surface.from_input[used]] = np.flatnonzero(used)
    wide = ("positions", "mass", "eigenvalues")
    arrays: dict[str, NDArray[np.generic]] = {
        name: value if name in wide else value.astype(np.float16)
        for name, value in operators.as_inputs().items()
    }
    arrays["faces"] = surface.faces.astype(np.int32)
    arrays["deltas"] = deltas[:, origin].astype(np.float16)
    arrays["mask"] = mask
    return arrays
