"""Checks of a rig, by geometry alone: nothing here knows the network that made it, or whether one did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raf_runtime.names import arkit_name
from raf_sdk._report import Check, Report
from raf_sdk.check._eyes import Aperture, check_blinks, check_eyeballs, check_gaze, check_lids
from raf_sdk.check._head import Head
from raf_sdk.check._mirror import check_mirror
from raf_sdk.check._motion import check_direction, check_place, check_reach, check_still
from raf_sdk.check._mouth import check_jaw, check_seal, check_teeth
from raf_sdk.check._surface import check_seams, check_triangles

if TYPE_CHECKING:
    from raf_sdk._rig import Rig

__all__ = ["Check", "Report", "arkit_name", "check_rig"]


def check_rig(rig: Rig) -> Report:
    """Check every shape of a rig.

    Parameters
    ----------
    rig
        Of any tool; shapes are found by their ARKit names, however those are spelled.

    Returns
    -------
    Report
        One check for each question and shape.

    Raises
    ------
    MeshError
        The mesh is no surface.
    """
    head = Head(rig)
    apertures = {side: Aperture(head, eye) for side, eye in head.eyes.items()}
    return Report(
        (
            *check_reach(head),
            *check_place(head),
            *check_direction(head),
            *check_jaw(head),
            *check_seal(head),
            *check_teeth(head),
            *check_blinks(head, apertures),
            *check_lids(head, apertures),
            *check_gaze(head),
            *check_eyeballs(head),
            *check_mirror(head),
            *check_still(head),
            *check_triangles(head),
            *check_seams(head),
        )
    )
