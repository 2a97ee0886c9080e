"""A small surface that a device has to get right before it is believed.

Axis legend: V surface vertices, P poses, K eigenpairs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from raf_runtime.backends.protocol import Backend
from raf_runtime.contract import POSE_INPUT
from raf_runtime.errors import DeviceError
from raf_runtime.model_file import ModelFile
from raf_runtime.operators import Operators
from raf_runtime.surface import face_area_vectors

__all__ = ["TOLERANCE", "trial_difference", "trial_inputs"]

# Largest distance from the CPU's answer, in millimetres of a head of 240 mm, which is about five canonical units tall.
TOLERANCE: Final = 0.05
_MILLIMETRES: Final = 48.0
_SMALLEST: Final = 1000
# Half axes of a head in canonical units.
_HEAD: Final = np.array([1.6, 2.4, 2.0])


def trial_inputs(model: ModelFile) -> dict[str, NDArray[np.float32]]:
    """The network's inputs of an ellipsoid as large as a head, for the first pose where there is one pose a run."""
    size = max(_SMALLEST, 2 * model.eigenpairs)
    # Points spread evenly over a sphere along a spiral (Vogel 1979), whose convex hull is a triangulation.
    height = 1 - (2 * np.arange(size) + 1) / size
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(size)
    radius = np.sqrt(1 - height**2)
    points = np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1) * _HEAD
    faces = ConvexHull(points).simplices.astype(np.int64)
    inward = np.einsum("ti,ti->t", face_area_vectors(points, faces), points[faces].mean(axis=1)) < 0
    faces[inward] = faces[inward, ::-1]
    operators = Operators.build(points, faces, np.zeros(size, dtype=np.int64), model.eigenpairs)
    inputs = operators.as_inputs()
    if model.posed:
        inputs[POSE_INPUT] = np.eye(1, len(model.poses), dtype=np.float32)[0]
    return inputs


def trial_difference(backend: Backend, reference: Backend, model: ModelFile) -> float:
    """Largest distance (mm of a 240 mm head) between the answers of two backends to :func:`trial_inputs`.

    Raises
    ------
    DeviceError
        If it is above ``TOLERANCE``, not a number, or of answers whose shapes differ.
    ModelError
        If one of them fails.
    """
    inputs = trial_inputs(model)
    found, expected = backend.run(inputs), reference.run(inputs)
    if found.shape != expected.shape:
        raise DeviceError(f"a trial run gave {found.shape} where the CPU gives {expected.shape}; use the CPU")
    difference = _MILLIMETRES * float(np.linalg.norm(found - expected, axis=-1).max())
    # Written so that a NaN fails.
    if not difference <= TOLERANCE:
        raise DeviceError(
            f"a trial run differed from the CPU by {difference:.3g} mm on a head of 240 mm, where {TOLERANCE} is "
            "allowed; update the driver and the runtime, or use the CPU"
        )
    return difference
