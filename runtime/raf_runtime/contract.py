"""The contract between a model file and its users: tensor names, dtypes, axes, pose names, metadata keys.

Axis legend: V vertices of the welded surface, K eigenpairs, P poses. Every tensor is float32, in models that
compute in half precision too. Lengths are in canonical units (see :mod:`raf_runtime.frame`).

A model gives all poses in one run, or, where its metadata says ``raf.posed``, one pose per run: it then takes
``pose`` as a last input and gives the displacements of that pose alone.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = [
    "ARKIT_POSES",
    "CONTRACT_VERSION",
    "INPUTS",
    "META_ATTRIBUTION",
    "META_COMMIT",
    "META_EIGENPAIRS",
    "META_POSED",
    "META_POSES",
    "META_PRECISION",
    "META_VERSION",
    "OUTPUT",
    "POSE_INPUT",
    "Precision",
]

CONTRACT_VERSION: Final = "1"

# Tensor name -> axes; the order is the order of the network's arguments.
INPUTS: Final[dict[str, tuple[str | int, ...]]] = {
    "positions": ("V", 3),
    "normals": ("V", 3),
    "mass": ("V",),
    "eigenvalues": ("K",),
    "eigenvectors": ("V", "K"),
    "gradient_x": ("V", "K"),
    "gradient_y": ("V", "K"),
}
POSE_INPUT: Final = "pose"  # (P,), activation of every pose
OUTPUT: Final = "displacements"  # (P, V, 3); (1, V, 3) of a posed model

Precision = Literal["fp32", "fp16"]

META_VERSION: Final = "raf.contract"
META_POSES: Final = "raf.poses"  # JSON list, in the order of the output's first axis
META_EIGENPAIRS: Final = "raf.eigenpairs"
META_POSED: Final = "raf.posed"  # "1": one pose per run; "0" or absent: all poses in one
META_PRECISION: Final = "raf.precision"  # a Precision, what the graph computes in; absent: fp32
META_COMMIT: Final = "raf.training_commit"
META_ATTRIBUTION: Final = "raf.attribution"

# Apple ARKit, ARFaceAnchor.BlendShapeLocation, alphabetical as exporters list them.
ARKIT_POSES: Final = tuple(
    """
    browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft
    eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft
    eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose
    mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft
    mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight
    mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight
    mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight
    tongueOut
    """.split()
)
