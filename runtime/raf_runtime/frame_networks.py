"""The three small networks that find a face: maps of depth and normals in, a frame and how sure it is out.

Axis legend: B maps at once, N points, G = 32 cells along a side of a map, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib.resources.abc import Traversable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.packages import import_onnxruntime

__all__ = [
    "CELLS",
    "CHANNELS",
    "EXTENT",
    "LAYER",
    "MAPS",
    "OUTPUTS",
    "FrameNetworks",
    "Guess",
    "MapNetwork",
    "front_map",
]

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

# A map shows what is this far from its middle to all sides: in canonical units, brow, ears and jaw.
EXTENT: Final = 2.4
CELLS: Final = 32
# What lies deeper than this under the foremost point of its cell does not show.
LAYER: Final = 0.2
CHANNELS: Final = 5
# What a network says of a map: uprightness, two axes, three anchors.
OUTPUTS: Final = 1 + 2 * 3 + 3 * 3
# Name of the maps in the files of the networks.
MAPS: Final = "maps"


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
        """Take the outputs (B, OUTPUTS) of a network apart."""
        wide = outputs.astype(np.float64)
        return cls(wide[:, 0], wide[:, 1:7].reshape(-1, 2, 3), wide[:, 7:].reshape(-1, 3, 3))


class MapNetwork:
    """Convolutions of 3 x 3 cells and a perceptron, in ONNX Runtime.

    Parameters
    ----------
    model
        An ONNX file of :mod:`raf_training.frame_file`.

    Raises
    ------
    DeviceError
        ONNX Runtime is missing or damaged.
    """

    def __init__(self, model: bytes) -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # Its products are small, and the spectrum is found beside it.
        options.intra_op_num_threads = 1
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, maps: Floats) -> Guess:
        """Look at maps (B, G, G, C)."""
        return Guess.split(self._session.run(None, {MAPS: maps})[0])


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
    mean = np.empty((cells, CHANNELS), dtype=np.float32)
    mean[:, 0] = count > 0
    for channel, value in enumerate(values, 1):
        mean[:, channel] = np.bincount(place, value, cells) / np.maximum(count, 1)
    return mean.reshape(*z.shape[:-1], CELLS, CELLS, CHANNELS)


@dataclass(frozen=True, slots=True)
class FrameNetworks:
    """For a whole head in any turn (``coarse``), any face about in place (``fine``), a plain one (``sharp``)."""

    coarse: MapNetwork
    fine: MapNetwork
    sharp: MapNetwork

    @classmethod
    def load(cls, folder: Traversable) -> FrameNetworks:
        """Read ``frame_coarse.onnx``, ``frame_fine.onnx`` and ``frame_sharp.onnx``."""
        return cls(*(MapNetwork((folder / f"frame_{field.name}.onnx").read_bytes()) for field in fields(cls)))
