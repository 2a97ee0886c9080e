"""Errors of the training package; every message says what, where and what to do next."""

from __future__ import annotations

from raf_runtime.errors import RafError

__all__ = ["BackendError", "DataError"]


class DataError(RafError, ValueError):
    """Training data that is missing, incomplete or not what its name promises."""


class BackendError(RafError, ImportError):
    """A library that was asked for by name and cannot be imported."""
