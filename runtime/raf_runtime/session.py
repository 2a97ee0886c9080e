"""A model on a device, ready to run on any number of surfaces.

Axis legend: S surface vertices, P poses, K eigenpairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.backends.protocol import Backend
from raf_runtime.contract import OUTPUT, POSE_INPUT
from raf_runtime.devices import DEVICES, choose_backend
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError
from raf_runtime.model_file import ModelFile
from raf_runtime.operators import Operators

__all__ = ["ENGINE", "Session"]

ENGINE: Final = ".engine"


class Session:
    """A loaded model.

    Parameters
    ----------
    path : Path
        An ONNX file with the metadata of :mod:`raf_runtime.contract`, or a TensorRT engine of ``raf-export``
        (``.engine``), for the GPU that it was built for.
    device : str
        ``"cpu"``, ``"cuda"``, ``"tensorrt"``, ``"coreml"``, or ``"auto"``: the first of TensorRT, CUDA and the CPU
        that can be used. An engine knows ``"tensorrt"`` only, which ``"auto"`` is then, and is not compared with the
        CPU: ``raf-export`` has done that, or has said that it could not.
    threads : int, optional
        Threads within an operator on the CPU; by default one for each physical core that the process may use.

    Attributes
    ----------
    model : ModelFile
        What the file says of itself.
    backend : Backend
        What runs it.

    Raises
    ------
    ModelFileNotFoundError
        If there is no such file.
    ModelError
        If the file is not ONNX nor an engine, lacks the metadata, or was made for another contract.
    DeviceError
        If the device is unknown or cannot be had, there is not one thread, or an engine is of another machine.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        if not path.is_file():
            raise ModelFileNotFoundError(f"model {path} does not exist; make one with `raf-export`")
        if device not in DEVICES:
            raise DeviceError(f"unknown device {device!r}; choose {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
        if threads is not None and threads < 1:
            raise DeviceError(f"{threads} threads cannot run a model; give 1 or more, or None for all cores")
        if path.suffix == ENGINE:
            self.model, self.backend = _open_engine(path, device)
            return
        cpu = OnnxRuntimeBackend.open(path, "cpu", threads)
        self.model = ModelFile.understand(path, cpu.metadata, cpu.inputs, cpu.outputs)
        self.backend = choose_backend(device, self.model, cpu, threads)

    @property
    def device(self) -> str:
        """The device that was obtained."""
        return self.backend.device

    @property
    def poses(self) -> tuple[str, ...]:
        """Names of the P poses, in the order of the output."""
        return self.model.poses

    @property
    def eigenpairs(self) -> int:
        """K that the model was trained with."""
        return self.model.eigenpairs

    @property
    def metadata(self) -> dict[str, str]:
        """Everything the file says of itself."""
        return self.model.metadata

    def run(self, operators: Operators) -> NDArray[np.float32]:
        """Predict displacements (P, S, 3) float32, in canonical units.

        Raises
        ------
        ModelError
            If the model fails on this surface or gives values that are not finite.
        DeviceError
            If the device fails.
        """
        inputs, size = operators.as_inputs(), len(operators.mass)
        try:
            if self.model.posed:
                result = np.empty((len(self.poses), size, 3), dtype=np.float32)
                for row, pose in enumerate(np.eye(len(self.poses), dtype=np.float32)):
                    answer = self.backend.run(inputs | {POSE_INPUT: pose})
                    result[row] = self._checked(answer, (1, size, 3))[0]
            else:
                result = self._checked(self.backend.run(inputs), (len(self.poses), size, 3))
        except ModelError as error:
            raise ModelError(f"the model failed on {size} vertices: {error}") from error
        return result

    def _checked(self, result: NDArray[np.float32], expected: tuple[int, ...]) -> NDArray[np.float32]:
        if result.shape != expected:
            raise ModelError(
                f"it gave {result.shape} instead of {expected}; export it again with `raf-export`"
            )
        if not np.isfinite(result).all():
            raise ModelError("it gave displacements that are not finite; check the mesh with `raf info`")
        return result


def _open_engine(path: Path, device: str) -> tuple[ModelFile, Backend]:
    if device not in ("auto", "tensorrt"):
        raise DeviceError(
            f"engine {path} runs on tensorrt and not on {device}; give the ONNX file that it was built from"
        )
    from raf_runtime.backends.tensorrt import TensorRTBackend

    engine = TensorRTBackend.load(path)
    return ModelFile.understand(path, engine.metadata, engine.inputs, [OUTPUT]), engine
