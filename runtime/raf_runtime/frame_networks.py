"""The three small networks that find a face: maps of depth and normals in, a frame and how sure it is out.

Axis legend: B maps at once, N points, G = 32 cells along a side of a map, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELLS", "EXTENT", "LAYER", "FrameNetworks", "Guess", "MapNetwork", "front_map"]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Layers = tuple[tuple[Floats, Floats], ...]

# A map shows what is this far from its middle to all sides: in canonical units, brow, ears and jaw.
EXTENT: Final = 2.4
CELLS: Final = 32
# What lies deeper than this under the foremost point of its cell does not show.
LAYER: Final = 0.2
_CHANNELS: Final = 5


@dataclass(frozen=True, slots=True)
class Guess:
    """What a network says of B maps, each in its own frame.

    Attributes
    ----------
    uprightness : (B,) float64
        Cosine of the angle to the upright position: whether there is a face at all, in other words.
    axes : (B, 2, 3) float64
        Directions of canonical Y and Z.
    anchors : (B, 3, 3) float64
        Left eye, right eye and mouth.
    """

    uprightness: Doubles
    axes: Doubles
    anchors: Doubles

    @classmethod
    def split(cls, outputs: Floats) -> Guess:
        """Take the outputs (B, 16) of a network apart."""
        wide = outputs.astype(np.float64)
        return cls(wide[:, 0], wide[:, 1:7].reshape(-1, 2, 3), wide[:, 7:].reshape(-1, 3, 3))


@dataclass(frozen=True, slots=True)
class MapNetwork:
    """Convolutions of 3 x 3 cells, all but the first in steps of two cells, and a perceptron.

    Attributes
    ----------
    convolution : tuple of ((3 * 3 * C_in, C_out), (C_out,)) float32
    head : tuple of ((C_in, C_out), (C_out,)) float32
    """

    convolution: Layers
    head: Layers

    def __call__(self, maps: Floats) -> Guess:
        """Look at maps (B, G, G, C)."""
        x = maps
        for i, (weight, bias) in enumerate(self.convolution):
            size, side = len(x), x.shape[1]
            padded = np.zeros((size, side + 2, side + 2, x.shape[3]), dtype=np.float32)
            padded[:, 1:-1, 1:-1] = x
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            if i > 0:
                windows, side = windows[:, ::2, ::2], side // 2
            # (B, G, G, C, 3, 3) -> rows of 3 x 3 x C, for one large product instead of many small ones
            rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(size * side * side, -1)
            x = _rectified(rows @ weight, bias).reshape(size, side, side, -1)
        x = x.reshape(len(x), -1)
        for weight, bias in self.head[:-1]:
            x = _rectified(x @ weight, bias)
        weight, bias = self.head[-1]
        return Guess.split(x @ weight + bias)


def front_map(points: Doubles, directions: Doubles) -> Floats:
    """Draw what is seen from +Z, on any number of maps.

    Parameters
    ----------
    points, directions : (..., N, 3) float64
        Points and their unit normals, in the frame of each map. Fastest where coordinates lie in rows in memory.

    Returns
    -------
    (..., G, G, 5) float32
        Rows along Y, columns along X, both rising. Channels: whether a cell is covered, mean depth along Z
        and mean normal of its front layer; 0 where nothing is.
    """
    x, y, z = np.moveaxis(points, -1, 0)
    x, y = ((along + EXTENT) * (CELLS / (2 * EXTENT)) for along in (x, y))
    seen = (x >= 0) & (x < CELLS) & (y >= 0) & (y < CELLS) & (np.abs(z) < EXTENT)
    cells = z.size // z.shape[-1] * CELLS * CELLS
    first = np.arange(0, cells, CELLS * CELLS).reshape(*z.shape[:-1], 1)  # cell of each map
    place = (y.astype(np.int64) * CELLS + x.astype(np.int64) + first)[seen]
    depth = z[seen]
    front = np.full(cells, -np.inf)
    np.maximum.at(front, place, depth)
    shown = depth > front.take(place) - LAYER
    place, values = place[shown], [depth[shown]]
    values += [along[seen][shown] for along in np.moveaxis(directions, -1, 0)]
    count = np.bincount(place, minlength=cells)
    mean = np.empty((cells, _CHANNELS), dtype=np.float32)
    mean[:, 0] = count > 0
    for channel, value in enumerate(values, 1):
        mean[:, channel] = np.bincount(place, value, cells) / np.maximum(count, 1)
    return mean.reshape(*z.shape[:-1], CELLS, CELLS, _CHANNELS)


@dataclass(frozen=True, slots=True)
class FrameNetworks:
    """For a whole head in any turn (``coarse``), any face about in place (``fine``), a plain one (``sharp``)."""

    coarse: MapNetwork
    fine: MapNetwork
    sharp: MapNetwork

    @classmethod
    def load(cls, path: Path) -> FrameNetworks:
        """Read arrays ``NETWORK.STAGE.LAYER.weight`` and ``...bias`` of an ``.npz`` file, without pickle."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name].astype(np.float32) for name in archive.files}

        def layers(stage: str) -> Layers:
            count = sum(name.startswith(stage) for name in arrays) // 2
            return tuple((arrays[f"{stage}.{i}.weight"], arrays[f"{stage}.{i}.bias"]) for i in range(count))

        def network(name: str) -> MapNetwork:
            return MapNetwork(layers(f"{name}.convolution"), layers(f"{name}.head"))

        return cls(network("coarse"), network("fine"), network("sharp"))


def _rectified(x: Floats, bias: Floats) -> Floats:
    x += bias
    return np.maximum(x, 0, out=x)
