"""Where the joints of a skin carry its vertices before anything is animated: what a viewer shows.

Quantised files have their scale in the skin, and characters put together from parts a place for each.

Source: Khronos glTF 2.0 specification, section 3.7.3 (skins).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from raf_runtime.errors import MeshFileError
from raf_sdk.io._gltf_document import GltfDocument, integer
from raf_sdk.io._gltf_nodes import indices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["blended", "carry", "joint_matrices"]

# Joints that carry all of a mesh to within this share of its size of each other, or leave it where it is, are said to
# do so exactly: a skin at rest is the product of matrices and their inverses, and rounding.
SAME: Final = 1e-5


def joint_matrices(
    document: GltfDocument, skin: int, worlds: Mapping[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Matrices (J, 4, 4) by which the joints of a skin carry vertices; ``worlds`` are those of the scene's nodes."""
    where = f"skins[{skin}]"
    owner = document.item("skins", skin)
    joints = indices(owner, "joints", where)
    outside = [joint for joint in joints if joint not in worlds]
    if outside or not joints:
        what = f"nodes[{outside[0]}], a joint of {where}, is" if outside else f"the joints of {where} are"
        raise MeshFileError(f"{what} not in the scene; export the armature with the mesh")
    placed = np.stack([worlds[joint] for joint in joints])
    if "inverseBindMatrices" not in owner:
        return placed
    inverse = document.accessor(integer(owner, "inverseBindMatrices", where), 16).astype(np.float64)
    if len(inverse) < len(joints):
        raise MeshFileError(f"{where} has {len(joints)} joints and {len(inverse)} inverse bind matrices")
    with np.errstate(over="ignore", invalid="ignore"):
        matrices = placed @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
    if not np.isfinite(matrices).all():
        raise MeshFileError(f"the matrices of {where} are not finite")
    return matrices


def blended(
    document: GltfDocument,
    attributes: dict[str, Any],
    joints: NDArray[np.float64],
    points: NDArray[np.float64],
    where: str,
) -> NDArray[np.floating]:
    """What carries the vertices of a primitive.

    Parameters
    ----------
    document, attributes
        The file, and the attributes of the primitive.
    joints : (J, 4, 4) float64
        From :func:`joint_matrices`.
    points : (V, 3) float64
        The vertices.
    where
        What to call the primitive in a message.

    Returns
    -------
    (4, 4) float64 or (V, 4, 4) float32
        One matrix where all joints that hold any of it carry it alike.
    """
    if not len(points) or not np.isfinite(points).all():
        return np.eye(4)  # a mesh refuses them
    corners = np.array(np.meshgrid(*zip(points.min(axis=0), points.max(axis=0), strict=True))).reshape(3, -1)
    size = max(float(np.ptp(corners, axis=1).max()), np.finfo(float).tiny)
    total, matrices = np.zeros(len(points)), np.zeros((len(points), 4, 4), np.float32)
    held = np.zeros(len(joints), np.bool_)
    for number in range(len(attributes)):
        if f"JOINTS_{number}" not in attributes:
            break
        chosen = _influences(document, attributes, f"JOINTS_{number}", len(points), where)
        weights = _influences(document, attributes, f"WEIGHTS_{number}", len(points), where)
        if chosen.dtype.kind != "u" or chosen.max(initial=0) >= len(joints):
            raise MeshFileError(f"{where}: JOINTS_{number} is not of the {len(joints)} joints of the skin")
        for joint, weight in zip(chosen.T, weights.astype(np.float64).T, strict=True):
            total += weight
            held[np.unique(joint[weight > 0])] = True
            matrices += weight[:, None, None].astype(np.float32) * joints.astype(np.float32).take(
                joint, axis=0
            )
    if not held.any() or not np.isfinite(total).all() or (total <= 0).any():
        return np.eye(4)
    # Where they carry the corners of the box around the vertices, they carry all that is inside.
    images = joints[held][:, :3, :3] @ corners + joints[held][:, :3, 3:]
    scale = SAME * max(size, float(np.ptp(images[0], axis=1).max()))
    if np.abs(images - images[0]).max() <= scale:
        return np.eye(4) if np.abs(images[0] - corners).max() <= scale else joints[held][0]
    return matrices / total[:, None, None].astype(np.float32)


def carry(
    matrices: NDArray[np.floating], vectors: NDArray[np.floating], *, move: bool
) -> NDArray[np.float64]:
    """Carry points (V, 3) by one matrix (4, 4) or one for each (V, 4, 4); displacements do not ``move``."""
    vectors = vectors.astype(np.float64)
    if np.array_equal(matrices, np.eye(4)):
        return vectors
    with np.errstate(over="ignore", invalid="ignore"):
        carried = np.einsum("...ij,...j->...i", matrices[..., :3, :3], vectors)
        return carried + matrices[..., :3, 3] if move else carried


def _influences(
    document: GltfDocument, attributes: dict[str, Any], key: str, count: int, where: str
) -> NDArray[Any]:
    """(V, 4) joints or weights of the vertices."""
    values = document.accessor(integer(attributes, key, f"{where}.attributes"), 4)
    if len(values) != count:
        raise MeshFileError(f"{where}: {key} has {len(values):,} elements for {count:,} vertices")
    return values
