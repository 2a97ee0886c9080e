"""Run a model file with ONNX Runtime, on the device that was asked for or the best there is.

Axis legend: S surface vertices, P poses, K eigenpairs.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_EIGENPAIRS,
    META_POSES,
    META_VERSION,
    OUTPUT,
)
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError
from raf_runtime.operators import Operators

__all__ = ["Session"]

_log = logging.getLogger("raf_runtime")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Session:
    """A loaded model.

    Parameters
    ----------
    path : Path
        An ONNX file with the metadata of :mod:`raf_runtime.contract`.
    device : str
        ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where it can be had, else the CPU.

    Attributes
    ----------
    device : str
        The device that was obtained.
    poses : tuple of str
        Names of the P poses, in the order of the output.
    eigenpairs : int
        K that the model was trained with.
    metadata : dict of str
        Everything the file says of itself.

    Raises
    ------
    ModelFileNotFoundError
        If there is no such file.
    ModelError
        If the file is not ONNX, lacks the metadata, or was made for another contract.
    DeviceError
        If the device is unknown or cannot be had.
    """

    def __init__(self, path: Path, device: str = "auto") -> None:
        if not path.is_file():
            raise ModelFileNotFoundError(f"model {path} does not exist; make one with `raf-export`")
        if device not in ("auto", *_PROVIDERS):
            raise DeviceError(f"unknown device {device!r}; choose auto, {' or '.join(_PROVIDERS)}")
        self.device, self._session = _open(path, device)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.poses, self.eigenpairs = _understood(path, self._session, self.metadata)

    def run(self, operators: Operators) -> NDArray[np.float32]:
        """Predict displacements (P, S, 3) float32, in canonical units.

        Raises
        ------
        ModelError
            If the model fails on this surface or gives values that are not finite.
        """
        try:
            result = np.asarray(self._session.run([OUTPUT], operators.as_inputs())[0])
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise ModelError(f"the model failed on {len(operators.mass)} vertices: {error}") from error
        expected = (len(self.poses), len(operators.mass), 3)
        if result.shape != expected:
            raise ModelError(
                f"the model gave {result.shape} instead of {expected}; export it again with `raf-export`"
            )
        if not np.isfinite(result).all():
            raise ModelError(
                "the model gave displacements that are not finite; check the mesh with `raf info`"
            )
        return result


def _open(path: Path, device: str) -> tuple[str, onnxruntime.InferenceSession]:
    present = onnxruntime.get_available_providers()
    wanted = [device] if device != "auto" else ["cuda", "cpu"] if _PROVIDERS["cuda"] in present else ["cpu"]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[_PROVIDERS[name] for name in wanted if _PROVIDERS[name] in present]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        raise ModelError(f"{path} is not a model that ONNX Runtime can load: {error}") from error
    # A missing library makes ONNX Runtime fall back without a word: only the session knows what it runs on.
    obtained = next(name for name, provider in _PROVIDERS.items() if provider == session.get_providers()[0])
    if device not in ("auto", obtained):
        raise DeviceError(
            f"device {device!r} cannot be had: ONNX Runtime offers {', '.join(present)}. {_both_installed()}"
            'Install the GPU runtime with `pip install "raf-sdk[gpu]" && pip uninstall -y onnxruntime && '
            'pip install --force-reinstall --no-deps onnxruntime-gpu`, or use device="cpu"'
        )
    if device == "auto":
        _log.info("raf-sdk runs on %s", obtained)
        if conflict := _both_installed():
            _log.warning("%sKeep one: see README, On a GPU", conflict)
    return obtained, session


def _both_installed() -> str:
    """A sentence where the plain and the GPU package overwrite each other, else nothing."""
    try:
        for package in ("onnxruntime", "onnxruntime-gpu"):
            importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
    return "onnxruntime and onnxruntime-gpu are both installed and overwrite each other. "


def _understood(
    path: Path, session: onnxruntime.InferenceSession, metadata: dict[str, str]
) -> tuple[tuple[str, ...], int]:
    """Poses and eigenpairs of a model that keeps the contract."""
    version = metadata.get(META_VERSION)
    if version != CONTRACT_VERSION:
        said = "has no raf-sdk metadata" if version is None else f"follows contract {version}"
        raise ModelError(
            f"{path} {said}; this raf-sdk reads contract {CONTRACT_VERSION}. Export it with `raf-export`"
        )
    names = [value.name for value in session.get_inputs()]
    if names != list(INPUTS):
        raise ModelError(f"{path} takes {', '.join(names)} instead of {', '.join(INPUTS)}; export it again")
    outputs = [value.name for value in session.get_outputs()]
    if outputs != [OUTPUT]:
        raise ModelError(f"{path} gives {', '.join(outputs)} instead of {OUTPUT}; export it again")
    try:
        poses = json.loads(metadata[META_POSES])
        eigenpairs = int(metadata[META_EIGENPAIRS])
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{path} has damaged metadata ({error}); export it again with `raf-export`"
        ) from error
    if not (isinstance(poses, list) and poses and all(isinstance(name, str) for name in poses)):
        raise ModelError(f"{path} names no poses; export it again with `raf-export`")
    if not 1 <= eigenpairs <= 1024:
        raise ModelError(f"{path} asks for {eigenpairs} eigenpairs; 1 to 1024 make sense. Export it again")
    return tuple(poses), eigenpairs
