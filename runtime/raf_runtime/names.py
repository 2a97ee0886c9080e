"""ARKit shapes under the names that other tools give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from raf_runtime.contract import ARKIT_POSES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["arkit_name", "match_names"]

# One shape in ARKit, two halves in ICT-FaceKit and in rigs made after it.
_HALVED: Final = ("browInnerUp", "cheekPuff")


def _table() -> dict[str, tuple[str, str]]:
    """Plain spelling -> ARKit name, and the half of it that is meant ("" for the whole)."""
    table = {pose.lower(): (pose, "") for pose in ARKIT_POSES}
    for pose in ARKIT_POSES:
        for side in ("Left", "Right"):
            if pose.endswith(side):
                table[pose.removesuffix(side).lower() + side[0].lower()] = (pose, "")
    for pose in _HALVED:
        table |= {pose.lower() + end: (pose, end[0]) for end in ("l", "r", "left", "right")}
    return table


_TABLE: Final = _table()


def _meaning(name: str) -> tuple[str, str] | None:
    words = re.split(r"[.:|]", name)
    for first in range(len(words)):
        found = _TABLE.get(re.sub(r"[^a-z0-9]", "", "".join(words[first:]).lower()))
        if found is not None:
            return found
    return None


def arkit_name(name: str) -> str | None:
    """The ARKit shape that a name means.

    Case and punctuation do not count, nor do prefixes that end in a dot or colon (``blendShape1.jawOpen``);
    sides may be ``Left``, ``_L``, ``.L``.

    Parameters
    ----------
    name
        The name in a file.

    Returns
    -------
    str or None
        One of ``ARKIT_POSES``, or None.
    """
    found = _meaning(name)
    return found and found[0]


def match_names(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Find the ARKit shapes among some names.

    Parameters
    ----------
    names
        Of a rig, in the order of its displacements.

    Returns
    -------
    dict
        ARKit name -> the rows that add up to it, in ARKit's order. Of two rows with one meaning (``jawOpen``
        and ``JawOpen``) the first counts, except that halves add up.
    """
    rows: dict[str, dict[str, int]] = {}
    for row, name in enumerate(names):
        found = _meaning(name)
        if found is not None:
            pose, half = found
            rows.setdefault(pose, {}).setdefault(half, row)
    return {
        pose: (rows[pose][""],) if "" in rows[pose] else tuple(rows[pose].values())
        for pose in ARKIT_POSES
        if pose in rows
    }
