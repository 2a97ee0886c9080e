"""The canonical frame: where the face is, which way it looks, and how large it is.

Canonical coordinates are Y up, +Z out of the face, the character's left at +X. Three facial anchors fix the
rest: the origin is the centroid of left eye, right eye and mouth, the unit their RMS distance from it (about
4 cm on an adult).

Three small networks find the frame from maps of depth and normals, drawn from samples of the surface. The first
sees all of it, and its finest piece, in each of the 24 axis rotations, and says in which of them it looks upright, and
where the face then is. The second sees the face alone, where the best few guesses place it: it says which of them shows
a face, and corrects that one. Where none does, the first looks at ends and pieces of the mesh, for the head of a whole
character. From then on only the parts that are the face's own are looked at. The third has the sharper eye for plain
human heads, and settles it where it agrees. None depends on triangulation, vertex order or winding.

Axis legend: S surface vertices, T triangles, N samples, B clouds at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.face import own_parts
from raf_runtime.frame_networks import CELLS, EXTENT, FrameNetworks, MapNetwork, front_map
from raf_runtime.rigid import axis_rotations, upright
from raf_runtime.soup import Soup, facing, squares
from raf_runtime.surface import in_box

__all__ = ["AXIS_ROTATIONS", "COARSE_RADIUS", "HEAD_CENTRE", "Frame", "estimate_frame", "shipped_networks"]

Doubles = NDArray[np.float64]

# Normals are turned away from the middle of the head, so that winding does not matter.
HEAD_CENTRE: Final = (0.0, 0.0, -2.0)
# Maps of the whole are drawn at a scale that makes this the RMS distance of its samples from their mean.
COARSE_RADIUS: Final = 1.5
COARSE_SAMPLES, CANDIDATES = 2048, 3
# Where no guess is surer than this, the head may be but an end or a piece of the mesh: of 315 heads five were less
# sure, and a body that was taken for a head had up to 1.07 of at most 1.1.
SAY: Final = 0.1
SURE: Final = 1.075
ENDS: Final = (1 / 2, 1 / 4, 1 / 8)
PIECES, PART_CANDIDATES = 6, 8
# What lies aside by all of the extent is so much less likely the head: hands can look like faces.
ASIDE: Final = 0.1
# The samples of a face reach a little beyond the map, which moves with the estimate.
MARGIN: Final = 1.1
FEWEST_SAMPLES, MOST_SAMPLES = 512, 12288
# The third network has seen no hats and no animals: where it strays this far from the second, in units and in
# logarithms of the unit, it is not believed.
STRAY_DEGREES, STRAY_DISTANCE, STRAY_SCALE = 9.0, 0.25, 0.15
# A face that is lost on the way once looked less upright: 0.02 on one of 115 game heads, before the finest piece was
# looked at by itself; 0.99 and more on all of them since.
LOST: Final = 0.8
# With fewer samples than this on the maps there is no face to see: the estimate stays as it is.
FEWEST_SEEN: Final = 32
# In a mirrored map the anchors (left eye, right eye, mouth) have their eyes exchanged.
_MIRROR: Final = np.array([-1.0, 1.0, 1.0])
_MIRRORED_ANCHORS: Final = [1, 0, 2]


@dataclass(frozen=True, slots=True)
class _Looks:
    """How a network looks at a face: at so many maps, each of samples of its own in such a density, so often.

    Maps are about as dense as in training, in samples per square unit: a denser one has fewer gaps.
    """

    density: float
    maps: int
    times: int


# A look mends but part of what is off: after two of them game heads in hats turned by up to 8 degrees when their
# necks were cut off, after eight by 1.3.
_FINE: Final = _Looks(density=40.0, maps=1, times=8)
_SHARP: Final = _Looks(density=20.0, maps=4, times=3)


AXIS_ROTATIONS: Final = axis_rotations()


@dataclass(frozen=True, slots=True)
class Frame:
    """A similarity: ``canonical = (point - origin) @ rotation.T / unit``.

    Attributes
    ----------
    rotation : (3, 3) float64
        Proper; its rows are the canonical axes in the input's frame.
    origin : (3,) float64
        Centroid of the anchors, in the input's frame and unit.
    unit : float
        RMS distance of the anchors from the origin, in the input's unit.
    sure : bool
        Whether a face was recognised there.
    """

    rotation: Doubles
    origin: Doubles
    unit: float
    sure: bool = True

    @classmethod
    def from_anchors(cls, anchors: NDArray[np.floating], rotation: Doubles | None = None) -> Frame:
        """Make the frame of known anchors.

        Parameters
        ----------
        anchors : (3, 3) float
            Rows: the character's left eye, right eye, mouth, in any order.
        rotation : (3, 3) float64, optional
            Rows are the canonical axes; the input's own axes by default.
        """
        points = np.asarray(anchors, dtype=np.float64)
        origin = points.mean(axis=0)
        unit = float(np.sqrt(((points - origin) ** 2).sum(axis=1).mean()))
        return cls(
            np.eye(3) if rotation is None else rotation, origin, max(unit, float(np.finfo(np.float64).tiny))
        )

    def to_canonical(self, points: NDArray[np.floating]) -> Doubles:
        """Carry points (..., 3) of the input to canonical coordinates."""
        return (points - self.origin) @ self.rotation.T / self.unit

    def vectors_to_input(self, displacements: NDArray[np.floating]) -> Doubles:
        """Carry canonical displacements (..., 3) to the input's frame and unit."""
        return self.unit * displacements @ self.rotation


@cache
def shipped_networks() -> FrameNetworks:
    """The networks of the package."""
    return FrameNetworks.load(files("raf_runtime"))


def estimate_frame(
    vertices: Doubles,
    faces: NDArray[np.int64],
    networks: FrameNetworks | None = None,
    component: NDArray[np.int64] | None = None,
) -> Frame:
    """Find the canonical frame of a head.

    Any unit, position, up axis and winding will do. The result follows axis rotations, translation and scale
    up to rounding; on anything but a head it is a frame without a meaning, and mostly not sure.

    Parameters
    ----------
    vertices : (S, 3) float64
        Positions of a welded surface, any unit and frame.
    faces : (T, 3) int64
        Triangles; their total area is not zero.
    networks
        Other networks than those that ship with the package.
    component : (S,) int64, optional
        Connected component of every vertex, so that hats and hair can be told from the face that they would turn.
    """
    networks = networks or shipped_networks()
    centre = vertices.mean(axis=0)
    # Translation is taken out before anything is computed from products of coordinates.
    soup = Soup.build(vertices - centre, faces)
    fine, coarse = networks.fine, networks.coarse
    pieces = soup.pieces(PIECES, component)
    found = [_seen(fine, soup, *guess) for guess in _guesses(coarse, soup, CANDIDATES)]
    if len(pieces) > 1:  # a face behind a visor
        finest = soup.part(pieces[0])
        found += [_seen(fine, finest, *guess) for guess in _guesses(coarse, finest, 1)]
    if max(score for score, *_ in found) < SURE:
        alone = [soup.part(piece) for piece in pieces]
        parts = [*alone, *(end for share in ENDS for end in soup.ends(share))]
        guesses = [guess for part in parts for guess in _guesses(coarse, part, 1)]
        guesses = sorted(guesses, key=lambda guess: -guess[0])[:PART_CANDIDATES]
        found += [_seen(fine, soup, *guess) for guess in guesses]
        if max(score for score, *_ in found) < SURE:  # a face under hair, or a mask
            found += [_seen(fine, piece, *guess) for piece in alone for guess in _guesses(coarse, piece, 1)]
    box = soup.box()
    _, frame, samples = max(found, key=lambda seen: seen[0] - ASIDE * _aside(*box, seen[1]))
    seen, bare = soup, samples
    if component is not None:
        own = own_parts(frame.to_canonical(soup.vertices), faces, component)
        seen = soup.part(np.flatnonzero(own[component[faces[:, 0]]]))
        bare = _samples(seen, frame, _FINE)
    least, settled = _settled(fine, frame, bare, _FINE)
    if least < LOST:  # what seemed to be skin was not
        seen, (_, settled) = soup, _settled(fine, frame, samples, _FINE)
    _, closer = _settled(networks.sharp, settled, _samples(seen, settled, _SHARP), _SHARP)
    frame = _blend(settled, closer)
    sure = max(score for score, *_ in found) >= SURE
    return Frame(frame.rotation, frame.origin + centre, frame.unit, sure)


def _samples(soup: Soup, frame: Frame, looks: _Looks) -> tuple[Doubles, Doubles]:
    """Spread samples (maps * N, 3) and their normals over the faces that a map of the frame may show."""
    # The map is a cube; a ball around it tells which faces may reach into it.
    near = soup.around(frame.origin, MARGIN * 3**0.5 * EXTENT * frame.unit)
    visible = float(soup.area[near].sum())
    if not visible > 0:
        return np.empty((0, 3)), np.empty((0, 3))
    count = int(np.clip(looks.density * visible / frame.unit**2, FEWEST_SAMPLES, MOST_SAMPLES))
    return soup.sample(near, looks.maps * count)


def _seen(
    network: MapNetwork, soup: Soup, first: float, guess: Frame
) -> tuple[float, Frame, tuple[Doubles, Doubles]]:
    """How sure it is that a face is where a guess places it, the guess corrected, and the samples looked at.

    The second network has seen no feet nor hands: how upright all looked to the first has a say as well.
    """
    samples = _samples(soup, guess, _FINE)
    second, corrected = _look(network, guess, samples, _FINE.maps)
    return min(second, 1.0) + SAY * min(first, 1.0), corrected, samples


def _aside(low: Doubles, high: Doubles, frame: Frame) -> float:
    """How far a face is from the nearest axis through the middle of all, a box, in extents of all."""
    offset = np.abs(frame.origin - (low + high) / 2) / max(float((high - low).max()), 1e-300)
    return float(np.sort(offset)[1])


def _guesses(network: MapNetwork, soup: Soup, count: int) -> Iterator[tuple[float, Frame]]:
    """Uprightness and frame in the few axis rotations in which all of it looks most like an upright head."""
    if not soup.area.sum() > 0:
        return
    points, directions = soup.sample(np.arange(len(soup.faces)), COARSE_SAMPLES)
    middle = points.mean(axis=0)
    points = points - middle
    scale = max(float(np.sqrt(squares(points).mean())) / COARSE_RADIUS, float(np.finfo(np.float64).tiny))
    points /= scale
    directions = facing(directions, points)
    # Turned as columns: the maps are drawn from rows of coordinates.
    turned = (np.swapaxes(AXIS_ROTATIONS @ vectors.T, 1, 2) for vectors in (points, directions))
    guess = network(front_map(*turned))
    for best in np.argsort(-guess.uprightness, kind="stable")[:count]:
        turn = AXIS_ROTATIONS[best]
        placed = Frame.from_anchors(guess.anchors[best] @ turn, upright(guess.axes[best]) @ turn)
        frame = Frame(placed.rotation, placed.origin * scale + middle, placed.unit * scale)
        yield float(guess.uprightness[best]), frame


def _look(
    network: MapNetwork, frame: Frame, samples: tuple[Doubles, Doubles], maps: int
) -> tuple[float, Frame]:
    """How upright a face some maps show, each of its share of the samples, and the frame corrected by them."""
    points, directions = frame.to_canonical(samples[0]), samples[1] @ frame.rotation.T
    if in_box(points, np.outer([-1, 1], 3 * [EXTENT])).sum() < FEWEST_SEEN:
        return -1.0, frame
    directions = facing(directions, points - HEAD_CENTRE)
    both = (
        np.stack([vectors, vectors * _MIRROR]).reshape(2, -1, maps, 3).swapaxes(1, 2)
        for vectors in (points, directions)
    )
    guess = network(front_map(*both).reshape(2 * maps, CELLS, CELLS, -1))
    axes = guess.axes.reshape(2, maps, 2, 3).mean(axis=1)
    anchors = guess.anchors.reshape(2, maps, 3, 3).mean(axis=1)
    axes = (axes[0] + axes[1] * _MIRROR) / 2
    anchors = (anchors[0] + anchors[1][_MIRRORED_ANCHORS] * _MIRROR) / 2
    placed = Frame.from_anchors(anchors @ frame.rotation, upright(axes) @ frame.rotation)
    corrected = Frame(placed.rotation, placed.origin * frame.unit + frame.origin, placed.unit * frame.unit)
    return float(guess.uprightness.mean()), corrected


def _settled(
    network: MapNetwork, frame: Frame, samples: tuple[Doubles, Doubles], looks: _Looks
) -> tuple[float, Frame]:
    """Correct a frame several times, by the same samples, so that it settles; with the least upright that it looked."""
    least = 1.0
    for _ in range(looks.times):
        score, frame = _look(network, frame, samples, looks.maps)
        least = min(least, score)
    return least, frame


def _blend(frame: Frame, closer: Frame) -> Frame:
    """Follow the closer look where it agrees, not at all where it strays, and in between in part: no leaps."""
    cosine = (np.trace(frame.rotation @ closer.rotation.T) - 1) / 2
    strays = max(
        float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))) / STRAY_DEGREES,
        float(np.linalg.norm(frame.origin - closer.origin)) / (STRAY_DISTANCE * frame.unit),
        abs(float(np.log(closer.unit / frame.unit))) / STRAY_SCALE,
    )
    share = min(max(2 - 2 * strays, 0.0), 1.0)
    rotation = frame.rotation + share * (closer.rotation - frame.rotation)
    return Frame(
        upright(rotation[1:]),
        frame.origin + share * (closer.origin - frame.origin),
        frame.unit * (closer.unit / frame.unit) ** share,
    )
