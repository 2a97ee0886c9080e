"""The device that a model runs on: the one that was asked for, or the best that can really be used."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.backends.protocol import Backend
from raf_runtime.errors import DeviceError, RafError
from raf_runtime.model_file import ModelFile
from raf_runtime.packages import package_problem
from raf_runtime.trial import trial_difference

if TYPE_CHECKING:
    from raf_runtime.backends.cuda import Gpu

__all__ = ["AUTOMATIC", "DEVICES", "choose_backend", "find_gpu", "try_device"]

_log = logging.getLogger("raf_runtime")
DEVICES: Final = ("auto", "cpu", "cuda", "tensorrt", "coreml")
# What "auto" tries before the CPU, best first. Core ML is not among them until somebody has measured that it helps: V
# changes from head to head, and ONNX Runtime warns that its Core ML provider is slow where shapes do.
AUTOMATIC: Final = ("tensorrt", "cuda")


def choose_backend(
    device: str, model: ModelFile, reference: OnnxRuntimeBackend, threads: int | None = None
) -> Backend:
    """Open a model on a device.

    Parameters
    ----------
    device : str
        One of ``DEVICES``. ``"auto"`` logs once what it took, and why nothing better.
    model : ModelFile
        The model.
    reference : OnnxRuntimeBackend
        The model on the CPU.
    threads : int, optional
        See :meth:`OnnxRuntimeBackend.open`.

    Raises
    ------
    DeviceError
        If a device that is asked for by name cannot be used; the message says why and what to do.
    """
    if device == "cpu":
        return reference
    if device != "auto":
        return try_device(device, model, reference, threads)
    try:
        find_gpu()
    except DeviceError as error:
        # Where there is no GPU nothing else is looked at: the CPU alone starts as fast as without this choice.
        _log.info("raf-sdk runs on cpu; not on %s: %s", " or ".join(AUTOMATIC), error)
        return reference
    chosen: Backend = reference
    refused: list[str] = []
    for name in AUTOMATIC:
        try:
            chosen = try_device(name, model, reference, threads)
            break
        except DeviceError as error:
            refused.append(str(error))
    _log.info("raf-sdk runs on %s%s", chosen.device, "".join(f"; {reason}" for reason in refused))
    if refused and (problem := package_problem()):
        _log.warning("%s", problem)
    return chosen


def try_device(
    device: str, model: ModelFile, reference: OnnxRuntimeBackend, threads: int | None = None
) -> Backend:
    """Open a model on a device other than the CPU, and compare a trial run with the CPU's.

    Parameters
    ----------
    device, model, reference, threads
        As for :func:`choose_backend`, ``device`` without ``"auto"`` and ``"cpu"``.

    Raises
    ------
    DeviceError
        If it cannot be opened, or gives another answer.
    """
    try:
        backend = _open(device, model, threads)
        trial_difference(backend, reference, model)
    except (RafError, ImportError) as error:
        raise DeviceError(f"device {device!r} cannot be had: {error}") from error
    return backend


def find_gpu() -> Gpu:
    """The GPU that the NVIDIA driver knows; where there is no driver, no more is done than looking for it.

    Raises
    ------
    DeviceError
        If there is no driver or no GPU.
    """
    from raf_runtime.backends.cuda import Gpu

    return Gpu.find()


def _open(device: str, model: ModelFile, threads: int | None) -> Backend:
    if device == "coreml":
        return OnnxRuntimeBackend.open(model.path, device, threads)
    find_gpu()
    if device == "cuda":
        return OnnxRuntimeBackend.open(model.path, device, threads)
    from raf_runtime.backends.tensorrt import TensorRTBackend

    return TensorRTBackend.open(model.path, model.metadata, model.precision)
