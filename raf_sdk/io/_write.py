"""Rigs out."""

from __future__ import annotations

__all__ = ["write_rig"]


def write_rig(rig: object, path: object) -> None:
    """Write a rig (follows in the next commit)."""
    raise NotImplementedError
