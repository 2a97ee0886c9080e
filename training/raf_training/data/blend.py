"""New heads between two of one topology, and which of them are poor.

Source: the augmentation of "RigAnyFace" (Ma et al., NeurIPS 2025): heads interpolated in pairs, poor ones dropped. The
paper does not say what makes one poor; this does. What is linear needs no test: where corresponding vertices keep an
order in both parents (lips before teeth, an upper lid above a lower one), they keep it in between. What is quadratic
can break: a triangle can turn over or collapse, and lids can enter the eyeball that they lie on.

Axis legend: V vertices, T triangles, P = 52 poses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from raf_runtime.eyes import find_eyes
from raf_training.data.rig_source import Floats, RigSource
from raf_training.data.samples import plain_head

__all__ = ["NEAREST", "alike", "blend", "draw_blend", "is_poor", "partners", "poorness"]

Doubles = NDArray[np.float64]

# A blend is this far from either parent, at least.
NEAREST: Final = 0.15
# A blend is poor where more than these shares are spoilt, of :func:`poorness`: turned, collapsed, sunk. Between people
# whom ICT-FaceKit draws, one in forty is; of the other shipped rigs, fewer (benchmarks/blends.py).
POOR: Final = np.array([0.001, 0.001, 0.01])
# A triangle has collapsed below this share of the smaller of its parents' areas.
_COLLAPSED: Final = 0.05
# Skin around an eye lies within so many radii of its centre; it is inside of the ball below the other one.
_AROUND, _INSIDE = 1.35, 0.97
_TRIES: Final = 8
# Least share of edges that two meshes of one topology have in common: two of three where every diagonal differs.
_SHARED: Final = 0.6

Head = TypeVar("Head")


def partners(sources: Sequence[RigSource]) -> dict[str, list[RigSource]]:
    """Find the rigs that each fixed head can be blended with.

    Parameters
    ----------
    sources
        Of one split: what they are blended to never leaves it.

    Returns
    -------
    dict
        Name -> the other heads of the same family and topology. Rigs with identities of their own have none: their
        modes already span what lies between any two of them.
    """
    fixed = [source for source in sources if not len(source.modes)]
    return {
        source.name: [other for other in group if other is not source]
        for family in dict.fromkeys(source.family for source in fixed)
        for group in alike(
            [source for source in fixed if source.family == family], lambda rig: (len(rig.neutral), rig.faces)
        )
        for source in group
    }


def alike(heads: Sequence[Head], mesh: Callable[[Head], tuple[int, NDArray[np.integer]]]) -> list[list[Head]]:
    """Group heads of one topology, two or more.

    They have equally many vertices and most edges in common: where exporters split quads, the diagonals depend on the
    shape of the head.

    Parameters
    ----------
    heads
        Of any kind.
    mesh
        Gives the number of vertices and the faces (F, 3) or (F, 4) of one.
    """
    groups: list[tuple[int, NDArray[np.int64], list[Head]]] = []
    for head in heads:
        count, faces = mesh(head)
        edges = _edges(faces, count)
        for size, others, members in groups:
            shared = np.intersect1d(edges, others, assume_unique=True).size
            if size == count and shared > _SHARED * max(len(edges), len(others)):
                members.append(head)
                break
        else:
            groups.append((count, edges, [head]))
    return [members for *_, members in groups if len(members) > 1]


def _edges(faces: NDArray[np.integer], count: int) -> NDArray[np.int64]:
    """Undirected edges, each once, as one number."""
    closed = np.where(faces < 0, faces[:, :1], faces).astype(np.int64)
    low, high = np.sort(np.stack([closed, np.roll(closed, -1, axis=1)]), axis=0)
    return np.unique(low[low < high] * count + high[low < high])


def draw_blend(source: RigSource, others: Sequence[RigSource], rng: np.random.Generator) -> RigSource:
    """Draw a head between a fixed one and another one, and again while it is poor.

    Parameters
    ----------
    source, others
        A head and its :func:`partners`.
    rng
        The only source of chance.

    Returns
    -------
    RigSource
        The blend; the head itself where one after the other was poor.
    """
    parent = plain_head(source, source.neutral)
    for _ in range(_TRIES):
        other = others[int(rng.integers(len(others)))]
        child = blend(source, other, float(rng.uniform(NEAREST, 1 - NEAREST)))
        parents = parent.vertices, plain_head(other, other.neutral).vertices
        if not is_poor(plain_head(child, child.neutral).vertices, parents, parent.faces, source.part):
            return child
    return source


def blend(first: RigSource, second: RigSource, weight: float) -> RigSource:
    """Blend two fixed heads of one topology in canonical units.

    Parameters
    ----------
    first, second
        Of one topology; the faces are those of the first.
    weight
        Of the second.

    Returns
    -------
    RigSource
        Named after both; with the shapes that both have.
    """
    mask = first.mask & second.mask
    a, b = plain_head(first, first.neutral), plain_head(second, second.neutral)

    def mix(of_first: NDArray[np.floating], of_second: NDArray[np.floating]) -> Floats:
        return ((1 - weight) * of_first + weight * of_second).astype(np.float32)

    return replace(
        first,
        name=f"{first.name}+{second.name.removeprefix(first.family + '/')}",
        neutral=mix(a.vertices, b.vertices),
        deltas=np.where(mask[:, None, None], mix(a.deltas, b.deltas), np.float32(0)),
        mask=mask,
        anchor_weights=mix(first.anchor_weights, second.anchor_weights),
        modes=np.zeros((0, *a.vertices.shape), np.float32),
    )


def is_poor(
    child: Doubles, parents: Sequence[Doubles], triangles: NDArray[np.int64], part: NDArray[np.int32]
) -> bool:
    """Whether a head is to be dropped; arguments as of :func:`poorness`."""
    return bool((poorness(child, parents, triangles, part) > POOR).any())


def poorness(
    child: Doubles, parents: Sequence[Doubles], triangles: NDArray[np.int64], part: NDArray[np.int32]
) -> Doubles:
    """Measure what a head has lost that its parents had.

    Parameters
    ----------
    child : (V, 3) float64
        Canonical.
    parents : sequence of (V, 3) float64
        Canonical, the same vertices.
    triangles : (T, 3) int64
    part : (V,) int32
        Connected component of each vertex.

    Returns
    -------
    (3,) float64
        Shares: of the area, in triangles whose normal opposes the mean of the parents'; in triangles that have
        collapsed; of the skin around the eyes, what is inside of an eyeball, above the worse of the parents.
    """
    normals = np.stack([_normals(head, triangles) for head in (child, *parents)])
    areas = np.linalg.norm(normals, axis=2)
    expected = areas[1:].mean(axis=0)
    turned = np.einsum("tc,tc->t", normals[0], normals[1:].sum(axis=0)) < 0
    collapsed = areas[0] < _COLLAPSED * areas[1:].min(axis=0)
    skin = int(np.bincount(part).argmax())
    eyes = _eyeballs(parents[0], part, skin)
    sunk = [_sunk(head, part == skin, eyes) for head in (child, *parents)]
    return np.array(
        [
            expected[turned].sum() / expected.sum(),
            expected[collapsed].sum() / expected.sum(),
            max(sunk[0] - max(sunk[1:]), 0.0),
        ]
    )


def _normals(head: Doubles, triangles: NDArray[np.int64]) -> Doubles:
    a, b, c = (head[triangles[:, corner]] for corner in range(3))
    return np.cross(b - a, c - a)


def _eyeballs(head: Doubles, part: NDArray[np.int32], skin: int) -> list[NDArray[np.int64]]:
    parts = [np.flatnonzero(part == number) for number in range(int(part.max()) + 1) if number != skin]
    return [eye.vertices for eye in find_eyes(head, sorted(parts, key=len, reverse=True))]


def _sunk(head: Doubles, skin: NDArray[np.bool_], eyes: Sequence[NDArray[np.int64]]) -> float:
    """Share of the skin around the eyeballs that is inside of one."""
    around = inside = 0
    for eye in eyes:
        # The sphere nearest to the vertices: |x|^2 = 2 c.x + r^2 - |c|^2 is linear in the centre c and the rest.
        columns = np.concatenate([2 * head[eye], np.ones((len(eye), 1))], axis=1)
        *centre, rest = np.linalg.lstsq(columns, np.square(head[eye]).sum(axis=1))[0]
        radius = np.sqrt(rest + np.square(centre).sum())
        offset = (head[skin] - centre) / radius
        distance = np.linalg.norm(offset[offset[:, 2] > 0], axis=1)  # behind the ball nobody sees
        around += int((distance < _AROUND).sum())
        inside += int((distance < _INSIDE).sum())
    return inside / max(around, 1)
