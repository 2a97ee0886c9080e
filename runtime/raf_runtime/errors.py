"""Errors that the package raises on purpose; every message says what, where and what to do next."""

from __future__ import annotations

__all__ = [
    "DeviceError",
    "MeshError",
    "MeshFileError",
    "MeshFileNotFoundError",
    "ModelError",
    "ModelFileNotFoundError",
    "OutputError",
    "PoseNameError",
    "RafError",
]


class RafError(Exception):
    """Base of every error raised by raf-sdk."""


class MeshError(RafError, ValueError):
    """A mesh that cannot be rigged: empty, not finite, indices out of range, no surface."""


class MeshFileError(MeshError):
    """A mesh file that cannot be read: unknown format, truncated, or inconsistent with itself."""


class MeshFileNotFoundError(MeshFileError, FileNotFoundError):
    """A mesh file that does not exist."""


class ModelError(RafError, RuntimeError):
    """A model file that cannot be used: not ONNX, no raf metadata, or another contract version."""


class ModelFileNotFoundError(ModelError, FileNotFoundError):
    """A model file that does not exist."""


class DeviceError(RafError, RuntimeError):
    """A device was asked for by name and cannot be had on this machine."""


class OutputError(RafError, OSError):
    """A result that cannot be written: unknown suffix, missing folder, no permission, full disk."""


class PoseNameError(RafError, ValueError):
    """A pose name that the rig or the model does not have."""
