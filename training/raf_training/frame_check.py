"""How far estimated canonical frames are from the true ones, on unseen identities and cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame import AXIS_ROTATIONS, Frame, estimate_frame
from raf_runtime.frame_networks import FrameNetworks
from raf_training.data.rig_source import RigSource
from raf_training.frame_heads import triangles

__all__ = ["Cut", "check_frames", "frame_error", "frame_errors", "random_rotation"]

Cut = Literal["whole", "mask", "cut"]
CUTS: Final[tuple[Cut, ...]] = ("whole", "mask", "cut")


def random_rotation(rng: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """Draw one of the 24 axis rotations (3, 3) followed by up to ``degrees`` about a random axis."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(rng.uniform(0, degrees))
    small = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return small @ AXIS_ROTATIONS[rng.integers(len(AXIS_ROTATIONS))]


def frame_error(estimate: Frame, truth: Frame) -> tuple[float, float, float]:
    """Errors of a frame: angle (degrees), distance of origins (true units), relative error of the unit."""
    cosine = (np.trace(estimate.rotation @ truth.rotation.T) - 1) / 2
    distance = np.linalg.norm(estimate.origin - truth.origin) / truth.unit
    return (
        float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))),
        float(distance),
        abs(estimate.unit / truth.unit - 1),
    )


def check_frames(
    sources: Sequence[RigSource], networks: FrameNetworks | None, heads: int, seed: int
) -> Iterator[str]:
    """Measure frames per family and kind of cut.

    Parameters
    ----------
    sources, networks, heads, seed
        As in :func:`frame_errors`; heads are drawn per family and kind.

    Yields
    ------
    str
        A line per family and kind of cut.
    """
    for family in sorted({source.family for source in sources}):
        members = [source for source in sources if source.family == family]
        for cut in CUTS:
            errors = frame_errors(members, cut, networks, heads, seed)
            median, high = np.median(errors, axis=0), np.quantile(errors, 0.95, axis=0)
            yield (
                f"{family:10s} {cut:5s} rotation {median[0]:.2f} / {high[0]:.2f} deg, "
                f"origin {median[1]:.3f} / {high[1]:.3f} unit, "
                f"scale {100 * median[2]:.1f} / {100 * high[2]:.1f} % (median / 95th percentile), "
                f"wrong axis {(errors[:, 0] > 45).mean():.1%}"
            )


def frame_errors(
    sources: Sequence[RigSource], cut: Cut, networks: FrameNetworks | None, heads: int, seed: int
) -> NDArray[np.float64]:
    """Estimate the frames of random identities in random similarities.

    Parameters
    ----------
    sources
        Rigs to draw from.
    cut
        ``whole``, ``mask`` (no back of the head, no neck) or ``cut`` (a plane anywhere outside the face).
    networks
        None for those that ship.
    heads
        How many.
    seed
        Another one than the training's.

    Returns
    -------
    (heads, 3) float64
        Rows as :func:`frame_error` returns them.
    """
    rng = np.random.default_rng((seed, CUTS.index(cut)))
    return np.array([_one_error(sources, cut, networks, rng) for _ in range(heads)])


def _one_error(
    sources: Sequence[RigSource], cut: Cut, networks: FrameNetworks | None, rng: np.random.Generator
) -> tuple[float, float, float]:
    source = sources[int(rng.integers(len(sources)))]
    vertices = source.identity(rng)
    anchors = source.anchors(vertices)
    faces = triangles(source.faces)
    middle = Frame.from_anchors(anchors).to_canonical(vertices)[faces].mean(axis=1)
    if cut == "mask":
        faces = faces[(middle[:, 2] > -rng.uniform(0.6, 1.6)) & (middle[:, 1] > -rng.uniform(1.7, 2.5))]
    elif cut == "cut":
        direction = rng.normal(size=3)
        faces = faces[middle @ direction / np.linalg.norm(direction) < rng.uniform(1.5, 3.0)]
    used, faces = np.unique(faces, return_inverse=True)
    rotation, scale, shift = random_rotation(rng, 20), 10 ** rng.uniform(-3, 3), rng.normal(size=3)
    truth = Frame.from_anchors(anchors)
    # x -> scale * (rotation x + shift * unit)
    moved = scale * (vertices[used].astype(np.float64) @ rotation.T + shift * truth.unit)
    turned = Frame(rotation.T, scale * (rotation @ truth.origin + shift * truth.unit), scale * truth.unit)
    return frame_error(estimate_frame(moved, faces.reshape(-1, 3).astype(np.int64), networks), turned)
