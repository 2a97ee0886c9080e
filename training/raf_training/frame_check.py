"""How far estimated canonical frames are from the true ones, on unseen identities and cuts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from raf_runtime.frame import AXIS_ROTATIONS, Frame, estimate_frame
from raf_runtime.frame_networks import FrameNetworks
from raf_training.data.rig_source import RigSource
from raf_training.data.rocketbox import RocketboxHead
from raf_training.frame_heads import triangles

__all__ = [
    "Cut",
    "check_frames",
    "frame_changes",
    "frame_error",
    "frame_errors",
    "random_rotation",
    "rocketbox_errors",
]

Cut = Literal["whole", "mask", "cut"]
CUTS: Final[tuple[Cut, ...]] = ("whole", "mask", "cut")


def random_rotation(rng: np.random.Generator, degrees: float, least: float = 0.0) -> NDArray[np.float64]:
    """Draw one of the 24 axis rotations (3, 3) followed by ``least`` to ``degrees`` about a random axis."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(rng.uniform(least, degrees))
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
    sources: Sequence[RigSource],
    rocketbox: Sequence[RocketboxHead],
    networks: FrameNetworks | None,
    heads: int,
    seed: int,
) -> Iterator[str]:
    """Measure frames per family and kind of cut, and on the Rocketbox heads that were kept out of training.

    Parameters
    ----------
    sources, networks, heads, seed
        As in :func:`frame_errors`; heads are drawn per family and kind.
    rocketbox
        Heads of which those held out are measured.

    Yields
    ------
    str
        A line per family and kind of cut.
    """
    for family in sorted({source.family for source in sources}):
        members = [source for source in sources if source.family == family]
        for cut in CUTS:
            yield _summary(f"{family:10s} {cut:5s}", frame_errors(members, cut, networks, heads, seed))
        changes = np.quantile(frame_changes(members, networks, heads // 3, seed), (0.5, 0.95), axis=0)
        yield (
            f"{family:10s} change by 15 degrees {changes[0, 0]:.3f} / {changes[1, 0]:.3f} unit, "
            f"by a cut neck {changes[0, 1]:.3f} / {changes[1, 1]:.3f} unit"
        )
    held_out = [head for head in rocketbox if head.held_out]
    yield _summary("rocketbox  whole", rocketbox_errors(held_out, networks, seed))


def _summary(title: str, errors: NDArray[np.float64]) -> str:
    median, high = np.median(errors, axis=0), np.quantile(errors, 0.95, axis=0)
    return (
        f"{title} rotation {median[0]:.2f} / {high[0]:.2f} deg, "
        f"origin {median[1]:.3f} / {high[1]:.3f} unit, "
        f"scale {100 * median[2]:.1f} / {100 * high[2]:.1f} % (median / 95th percentile), "
        f"wrong axis {(errors[:, 0] > 45).mean():.1%}"
    )


def rocketbox_errors(
    heads: Sequence[RocketboxHead], networks: FrameNetworks | None, seed: int
) -> NDArray[np.float64]:
    """Estimate the frames of heads with all that they wear, each in a random similarity: (heads, 3)."""
    rng = np.random.default_rng((seed, len(CUTS)))
    return np.array([_moved_error(head.vertices, head.faces, head.anchors, networks, rng) for head in heads])


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


def frame_changes(
    sources: Sequence[RigSource], networks: FrameNetworks | None, heads: int, seed: int
) -> NDArray[np.float64]:
    """Estimate how much the frame of one head changes when its mesh is moved or cut.

    Parameters
    ----------
    sources, networks, heads, seed
        As in :func:`frame_errors`.

    Returns
    -------
    (heads, 2) float64
        RMS change of the canonical coordinates of the face, in units, when the head is turned by 15 degrees and an
        axis rotation and scaled by 0.001 to 1000, and when its neck is cut off.
    """
    rng = np.random.default_rng((seed, len(CUTS) + 1))
    changes: list[tuple[float, float]] = []
    for _ in range(heads):
        source = sources[int(rng.integers(len(sources)))]
        identity = source.identity(rng)
        vertices = Frame.from_anchors(source.anchors(identity)).to_canonical(identity)
        faces = triangles(source.faces)
        face = vertices[np.linalg.norm(vertices, axis=1) < 2]
        before = estimate_frame(vertices, faces, networks).to_canonical(face)
        move = 10 ** rng.uniform(-3, 3) * random_rotation(rng, 15, 15)
        turned = estimate_frame(vertices @ move.T, faces, networks).to_canonical(face @ move.T)
        bodiless = faces[vertices[faces].mean(axis=1)[:, 1] > -rng.uniform(2.4, 3.4)]
        cut = estimate_frame(vertices, bodiless, networks).to_canonical(face)
        changes.append((_distance(turned, before), _distance(cut, before)))
    return np.array(changes)


def _distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(a - b).sum(axis=1).mean()))


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
    return _moved_error(vertices, faces, anchors, networks, rng)


def _moved_error(
    vertices: NDArray[np.floating],
    faces: NDArray[np.int64],
    anchors: NDArray[np.floating],
    networks: FrameNetworks | None,
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    """Error of the frame of a head that a random similarity moved."""
    used, faces = np.unique(faces, return_inverse=True)
    rotation, scale, shift = random_rotation(rng, 20), 10 ** rng.uniform(-3, 3), rng.normal(size=3)
    truth = Frame.from_anchors(anchors)
    # x -> scale * (rotation x + shift * unit)
    moved = scale * (vertices[used].astype(np.float64) @ rotation.T + shift * truth.unit)
    turned = Frame(rotation.T, scale * (rotation @ truth.origin + shift * truth.unit), scale * truth.unit)
    return frame_error(estimate_frame(moved, faces.reshape(-1, 3), networks), turned)
