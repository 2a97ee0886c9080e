"""Training samples: an identity of a rig in a fresh triangulation, crop and proportion, with its operators.

Axis legend: V vertices of the rig, S surface vertices of the sample, T triangles, P = 52 poses, K eigenpairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import fast_simplification
import numpy as np
import trimesh
from numpy.typing import NDArray

from raf_runtime.operators import Operators
from raf_runtime.surface import Surface
from raf_training.data.rig_source import RigSource
from raf_training.data.wardrobe import Wardrobe
from raf_training.data.warp import bake, draw_warp

__all__ = ["PlainHead", "SampleOptions", "draw_head", "draw_sample", "plain_head"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Range of the strength of a warp, and of one after a face has been carried towards another family's.
STRENGTH, WEAK = (0.3, 1.2), (0.0, 0.7)
# Share of the strangers that are carried so, and how far of the way: in the end lips would crumple.
BETWEEN, PART = 0.5, (0.25, 0.6)

# What these return depends on their arguments in ways that their types do not say.
_simplify: Any = fast_simplification.simplify
_split: Any = trimesh.remesh.subdivide


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How far samples stray from their rig.

    Attributes
    ----------
    eigenpairs : K of the operators.
    vertices : range that the wanted number of vertices is drawn from, log-uniformly.
    large_vertices, large_share : the same for a share of large samples.
    proportion : standard deviation of the logarithm of the scaling along each axis.
    crop_share : share of samples that are cropped to a mask, a head or a bust.
    hole_share : share of samples with a few holes.
    bare_share : share of samples that lose all loose parts; as many again lose a third of them.
    warp_share : share of samples whose face is carried to one that no rig has, by a smooth warp and, every other, part
        of the way to another family's mean face, with the shapes that the rig has for strangers; a rig without
        identities, and without others to hold out, is always warped.
    dress_share : share of samples that wear hats, hair, glasses or collars, which no pose moves.
    """

    eigenpairs: int = 128
    vertices: tuple[int, int] = (500, 2000)
    large_vertices: tuple[int, int] = (4000, 14000)
    large_share: float = 0.02
    proportion: float = 0.04
    crop_share: float = 0.35
    hole_share: float = 0.1
    bare_share: float = 0.15
    warp_share: float = 0.5
    dress_share: float = 0.2


@dataclass(frozen=True, slots=True)
class PlainHead:
    """A rigged head in canonical units.

    ``vertices (V, 3)``, ``faces (T, 3)``, ``deltas (P, V, 3)``, ``anchors (3, 3)``: left eye, right eye, mouth.
    """

    vertices: Floats
    faces: Ints
    deltas: NDArray[np.float32]
    anchors: Floats


def plain_head(
    source: RigSource, vertices: NDArray[np.float32], proportion: Floats | None = None
) -> PlainHead:
    """Bring an identity and its shapes to the canonical frame (origin and unit from its three anchors)."""
    scale = np.ones(3) if proportion is None else proportion
    anchors = source.anchors(vertices).astype(np.float64) * scale
    head = PlainHead(
        vertices * scale,
        _triangulate(source.faces, None),
        source.deltas * scale.astype(np.float32),
        anchors,
    )
    return _canonical(head)


def _canonical(head: PlainHead) -> PlainHead:
    """Move the origin to the anchors' centroid and make their RMS distance from it the unit."""
    origin = head.anchors.mean(axis=0)
    unit = float(np.sqrt(np.square(head.anchors - origin).sum(axis=1).mean()))
    return PlainHead(
        (head.vertices - origin) / unit,
        head.faces,
        head.deltas / np.float32(unit),
        (head.anchors - origin) / unit,
    )


def draw_head(
    source: RigSource,
    rng: np.random.Generator,
    options: SampleOptions,
    wardrobe: Wardrobe | None = None,
    warped: bool = False,
) -> PlainHead:
    """Draw an identity, its proportions, a crop, its loose parts, a triangulation, a warp and what it wears.

    ``warped``: the face is carried to one that its rig has not, and moves as strangers do.
    """
    proportion = np.exp(options.proportion * rng.standard_normal(3))
    strange = source.strange if warped else None
    if strange is not None:
        source = replace(source, deltas=strange.deltas)
    head, strength = plain_head(source, source.identity(rng), proportion), STRENGTH
    if strange is not None and rng.random() < BETWEEN:
        way = strange.toward[rng.integers(len(strange.toward))]
        head, strength = _carried(head, way * rng.uniform(*PART), source.anchor_weights), WEAK
    faces = _triangulate(source.faces, rng)
    faces = faces[_kept_parts(source.part, rng, options)[faces[:, 0]]]
    if rng.random() < options.crop_share:
        inside = _crop(head.vertices, rng)
        if (cropped := inside[faces].all(axis=1)).sum() > 200:
            faces = faces[cropped]
    if rng.random() < options.hole_share and (left := faces[~_holes(head.vertices, faces, rng)]).size > 600:
        faces = left
    head = _retriangulate(_compact(head, faces), rng, options)
    if warped:
        head = _warped(head, rng, strength)
    if wardrobe is not None and rng.random() < options.dress_share:
        head = _dressed(head, wardrobe, rng)
    return head


def _dressed(head: PlainHead, wardrobe: Wardrobe, rng: np.random.Generator) -> PlainHead:
    vertices, faces = wardrobe.dress(rng, head.vertices)
    still = np.zeros((len(head.deltas), len(vertices), 3), np.float32)
    outfit = PlainHead(vertices, faces, still, head.anchors)
    wanted = int(rng.uniform(0.1, 0.5) * len(head.vertices))
    if len(vertices) > 1.15 * wanted:
        outfit = _decimate(outfit, wanted, aggression=7.0)
    return PlainHead(
        np.concatenate([head.vertices, outfit.vertices]),
        np.concatenate([head.faces, outfit.faces + len(head.vertices)]),
        np.concatenate([head.deltas, outfit.deltas], axis=1),
        head.anchors,
    )


def _carried(head: PlainHead, way: Floats, anchor_weights: NDArray[np.float32]) -> PlainHead:
    """Add displacements (V, 3) to a whole head, its anchors with it."""
    anchors = head.anchors + anchor_weights @ way
    return _canonical(PlainHead(head.vertices + way, head.faces, head.deltas, anchors))


def _warped(head: PlainHead, rng: np.random.Generator, strength: tuple[float, float]) -> PlainHead:
    warp = draw_warp(rng, strength=float(rng.uniform(*strength)))
    vertices, deltas = bake(warp, head.vertices, head.deltas)
    return _canonical(PlainHead(vertices, head.faces, deltas, warp(head.anchors)))


def draw_sample(
    source: RigSource,
    rng: np.random.Generator,
    options: SampleOptions,
    wardrobe: Wardrobe | None = None,
    warped: bool = False,
) -> dict[str, NDArray[np.generic]]:
    """Draw a head and compute what training needs.

    Returns
    -------
    dict
        The network's inputs under their contract names, float16 except for ``mass`` and ``eigenvalues``;
        ``deltas (P, S, 3) float16`` in canonical units; ``mask (P,) bool``; ``faces (T, 3) int32``, for rendering.
    """
    head = draw_head(source, rng, options, wardrobe, warped)
    surface = Surface.build(head.vertices, head.faces)
    operators = Operators.build(surface.vertices, surface.faces, surface.component, options.eigenpairs)
    origin = np.zeros(len(surface.vertices), dtype=np.int64)
    used = surface.from_input >= 0
    origin[surface.from_input[used]] = np.flatnonzero(used)
    wide = ("mass", "eigenvalues")
    arrays: dict[str, NDArray[np.generic]] = {
        name: value if name in wide else value.astype(np.float16)
        for name, value in operators.as_inputs().items()
    }
    arrays["positions"] = operators.positions
    arrays["faces"] = surface.faces.astype(np.int32)
    arrays["deltas"] = head.deltas[:, origin].astype(np.float16)
    arrays["mask"] = source.mask
    return arrays


def _triangulate(faces: NDArray[np.int32], rng: np.random.Generator | None) -> Ints:
    """Split quads: along the first diagonal, or, given chance, all along either or each along its own."""
    quads = faces[faces[:, 3] >= 0].astype(np.int64)
    if rng is not None:
        share = (0.0, 1.0, 0.5)[rng.integers(3)]
        turned = rng.random(len(quads)) < share
        quads[turned] = np.roll(quads[turned], 1, axis=1)
    return np.concatenate(
        [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]], faces[faces[:, 3] < 0, :3].astype(np.int64)]
    )


def _kept_parts(
    part: NDArray[np.int32], rng: np.random.Generator, options: SampleOptions
) -> NDArray[np.bool_]:
    """Mask (V,) of the vertices whose part stays; the largest always does."""
    count = int(part.max()) + 1
    main = int(np.bincount(part).argmax())
    chance = rng.random()
    dropped = 1.0 if chance < options.bare_share else 0.33 if chance < 2 * options.bare_share else 0.0
    keep = rng.random(count) >= dropped
    keep[main] = True
    return keep[part]


def _crop(vertices: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask (V,) of a mask, head or bust around the face (the origin; a head is about six units tall)."""
    kind = rng.integers(3)
    if kind == 0:
        radii = rng.uniform(2.3, 4.0) * rng.uniform(0.9, 1.2, size=3)
        return np.square((vertices - [0, 0.4, 0]) / radii).sum(axis=1) < 1
    if kind == 1:
        return vertices[:, 2] > -rng.uniform(0.7, 4.0)
    normal = np.array([0, 1, 0.3 * rng.standard_normal()])
    return vertices @ normal > -rng.uniform(2.0, 4.5)


def _holes(vertices: Floats, faces: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mask (T,) of the triangles that a few small balls on the surface swallow."""
    middle = vertices[faces].mean(axis=1)
    gone = np.zeros(len(faces), dtype=bool)
    for centre in middle[rng.integers(len(faces), size=rng.integers(1, 4))]:
        gone |= np.square(middle - centre).sum(axis=1) < rng.uniform(0.1, 0.5) ** 2
    return gone


def _compact(head: PlainHead, faces: Ints) -> PlainHead:
    """Keep only some faces (T, 3) of a head, and the vertices that they use."""
    used = np.unique(faces)
    renumber = np.full(len(head.vertices), -1, dtype=np.int64)
    renumber[used] = np.arange(len(used))
    return PlainHead(head.vertices[used], renumber[faces], head.deltas[:, used], head.anchors)


def _retriangulate(head: PlainHead, rng: np.random.Generator, options: SampleOptions) -> PlainHead:
    """Decimate or subdivide towards a random number of vertices."""
    large = rng.random() < options.large_share
    low, high = options.large_vertices if large else options.vertices
    wanted = int(np.exp(rng.uniform(np.log(low), np.log(high))))
    if len(head.vertices) > 1.15 * wanted:
        return _decimate(head, wanted, aggression=float(rng.uniform(3, 8)))
    if 2 * len(head.vertices) < wanted:
        return _subdivide(head)
    return head


def _decimate(head: PlainHead, wanted: int, aggression: float) -> PlainHead:
    """Collapse edges, then let one original vertex stand for each that is left: its shapes stay exact."""
    points = head.vertices.astype(np.float32)
    triangles = head.faces.astype(np.int32)
    reduction = 1 - wanted / len(points)
    _, _, collapses = _simplify(points, triangles, reduction, agg=aggression, return_collapses=True)
    moved, faces, mapping = fast_simplification.replay_simplification(points, triangles, collapses)
    distance = np.linalg.norm(points - moved[mapping], axis=1)
    order = np.lexsort((distance, mapping))
    lead = np.ones(len(order), dtype=bool)
    lead[1:] = mapping[order][1:] != mapping[order][:-1]
    stand_in = np.zeros(len(moved), dtype=np.int64)
    stand_in[mapping[order[lead]]] = order[lead]
    corners = stand_in[faces]
    proper = (
        (corners[:, 0] != corners[:, 1]) & (corners[:, 1] != corners[:, 2]) & (corners[:, 2] != corners[:, 0])
    )
    return _compact(head, corners[proper])


def _subdivide(head: PlainHead) -> PlainHead:
    """Split every triangle into four at its edges' midpoints; shapes are interpolated."""
    size, poses = len(head.vertices), len(head.deltas)
    columns = np.concatenate([head.vertices, head.deltas.transpose(1, 0, 2).reshape(size, -1)], axis=1)
    _, faces, attributes = _split(head.vertices, head.faces, vertex_attributes={"columns": columns})
    columns = attributes["columns"]
    deltas = columns[:, 3:].reshape(-1, poses, 3).transpose(1, 0, 2).astype(np.float32)
    return PlainHead(columns[:, :3], np.asarray(faces, dtype=np.int64), deltas, head.anchors)
