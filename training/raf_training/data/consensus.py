"""What rigs have in common: the shapes of faces that belong to no rig.

How far a smile goes, and where, is each rig's own choice, and a network learns it together with the faces that it was
made for. On a stranger it then moves by the choices of whichever rig the stranger resembles. Heads that are warped to
faces that no rig has are to be moved by the mean of all families' choices instead: their shapes, carried to this rig by
registration and deformation transfer (:mod:`raf_training.data.retarget`). On rigs that no training has seen
(docs/left_out.md) the mean is nearer to the truth than any one family. Registration also tells the way from a rig's
face to another family's: half-way there are faces as natural as either's, and strangers to both.

A shape that a rig lacks, such as Vitruvian's ``mouthPress``, it takes from the others, on its own faces as well.

A rig's own shapes stay where a mean of motions is none, or would miss: gaze turns eyeballs, blinks and a closed mouth
bring surfaces together, and tongues are not registered.

Axis legend: V vertices, P = 52 poses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from raf_runtime.contract import ARKIT_POSES
from raf_training.data.retarget import Donor, Head
from raf_training.data.rig_source import Floats, RigSource, Strange

__all__ = ["DONORS", "completed", "consensus", "donors_of", "strange_of"]

# Families whose mean faces carry landmarks, and whose shapes were made for human faces.
DONORS: Final = ("ict", "makehuman", "vitruvian")

_JAW_OPEN, _CLOSE = ARKIT_POSES.index("jawOpen"), ARKIT_POSES.index("mouthClose")
_OWN: Final = np.array(
    [pose.startswith(("eyeLook", "eyeBlink")) or pose in ("mouthClose", "tongueOut") for pose in ARKIT_POSES]
)


def donors_of(sources: Mapping[str, RigSource]) -> dict[str, Donor]:
    """Prepare the base mesh of each family that others take shapes from; a few seconds each."""
    return {family: Donor.of(sources[family]) for family in DONORS if family in sources}


def strange_of(rig: RigSource, donors: Mapping[str, Donor]) -> Strange:
    """What a rig makes of strangers, and ways to them; ``donors`` by family, the rig's own may be among them."""
    own = Head.of(rig, rig.neutral)
    others = [donor.head for family, donor in donors.items() if family != rig.family]
    toward = [own.bent_onto(other) - own.vertices for other in others]
    return Strange(consensus(rig, donors), np.array(toward, np.float32))


def consensus(rig: RigSource, donors: Mapping[str, Donor]) -> Floats:
    """Average a rig's shapes with those of other families.

    Parameters
    ----------
    rig
        Of a family in :data:`DONORS`; the shapes of any other are returned as they are.
    donors
        By family.

    Returns
    -------
    (52, V, 3) float32
        Displacements of the rig's mean head, archive unit: a family counts where it moves anything, and of shapes
        that the rig has only what it moves itself moves. ``mouthClose`` and ``jawOpen`` together are the rig's own.
    """
    others = [donor for family, donor in donors.items() if family != rig.family]
    if rig.family not in DONORS or not others:
        return rig.deltas
    own = _on_open_jaw(rig.deltas, 1)
    total, count = own.astype(np.float64), rig.mask[:, None, None].astype(np.float64)
    for donor in others:
        known = donor.known[:, None, None]
        total += known * _on_open_jaw(donor(rig, rig.neutral), 1)
        count += known
    still = rig.mask & ~own.any(axis=(1, 2))
    mean = np.where((_OWN | still)[:, None, None], own, total / np.maximum(count, 1))
    return _on_open_jaw(np.asarray(mean, np.float32), -1)


def completed(rig: RigSource, strange: Strange) -> RigSource:
    """The rig with what is made of strangers to it, and with the shapes that it lacks and others lend it."""
    lent = ~rig.mask & ~_OWN & strange.deltas.any(axis=(1, 2))
    deltas = np.where(lent[:, None, None], strange.deltas, rig.deltas)
    return replace(rig, deltas=deltas, mask=rig.mask | lent, strange=strange)


def _on_open_jaw(shapes: Floats, sign: int) -> Floats:
    """Add ``jawOpen`` to ``mouthClose``, which is never used without, or take it off again."""
    shapes = shapes.copy()
    shapes[_CLOSE] += sign * shapes[_JAW_OPEN]
    return shapes
