"""Run a model with ONNX Runtime: on the CPU, with CUDA, or with Core ML.

Its TensorRT provider is not used. Without an engine cache it builds anew in every process, and its cache is keyed on
less than what an engine depends on [ONNX Runtime, "TensorRT Execution Provider", "TensorRT EP Caches"];
:mod:`raf_runtime.backends.tensorrt` runs the engines of TensorRT itself.

Axis legend: V surface vertices, P poses.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.contract import OUTPUT
from raf_runtime.errors import DeviceError, ModelError
from raf_runtime.packages import import_onnxruntime, package_problem
from raf_runtime.threads import usable_cores

__all__ = ["PROVIDERS", "OnnxRuntimeBackend"]

# Device -> provider and the options that differ from ONNX Runtime's own, as its pages on the providers describe them.
PROVIDERS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    # TF32, on by default, rounds the factors of fp32 products as coarsely as fp16 does.
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
    # The default format, NeuralNetwork, is the older one and takes fewer of the operators.
    "coreml": ("CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}),
}


class OnnxRuntimeBackend:
    """A model in ONNX Runtime.

    Attributes
    ----------
    device : str
        Whose provider it runs on.
    metadata : dict of str
        Everything the file says of itself.
    inputs, outputs : tuple of str
        Names of its tensors.
    """

    def __init__(self, device: str, session: Any) -> None:
        self._device = device
        self._session = session
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple(value.name for value in session.get_inputs())
        self.outputs = tuple(value.name for value in session.get_outputs())

    @classmethod
    def open(cls, model: Path, device: str, threads: int | None = None) -> OnnxRuntimeBackend:
        """Load a model.

        Parameters
        ----------
        model : Path
            An ONNX file.
        device : str
            A key of ``PROVIDERS``.
        threads : int, optional
            Threads within an operator on the CPU; by default one for each core of :func:`usable_cores`.

        Raises
        ------
        DeviceError
            If this ONNX Runtime is damaged, lacks the provider, or leaves it without a word.
        ModelError
            If the file is not a model that it can load.
        """
        runtime = import_onnxruntime()
        provider, settings = PROVIDERS[device]
        if provider not in runtime.get_available_providers():
            raise DeviceError(_lacking(device, f"{runtime.package_name} {runtime.__version__}"))
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = usable_cores() if threads is None else threads
        said = _load_cuda(runtime) if device == "cuda" else ""
        try:
            session = runtime.InferenceSession(
                str(model), options, providers=[(provider, settings)], enable_fallback=0
            )
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise ModelError(f"ONNX Runtime cannot load model {model} on {device}: {error}") from error
        # A missing library makes ONNX Runtime take the CPU without a word: only the session knows what it runs on.
        if session.get_providers()[0] != provider:
            raise DeviceError(
                f"ONNX Runtime cannot load {provider}: {said or 'a library that it needs is missing'}. It is built "
                f'for CUDA {runtime.cuda_version}; install that with `pip install "raf-sdk[gpu]"`'
            )
        return cls(device, session)

    @property
    def device(self) -> str:
        """``"cpu"``, ``"cuda"`` or ``"coreml"``."""
        return self._device

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Predict displacements (P, V, 3) float32 from the tensors of :mod:`raf_runtime.contract`.

        Raises
        ------
        ModelError
            If ONNX Runtime fails.
        """
        try:
            return np.asarray(self._session.run([OUTPUT], inputs)[0])
        except Exception as error:  # ONNX Runtime's errors have no common base of their own
            raise ModelError(f"ONNX Runtime fails: {error}") from error


def _lacking(device: str, runtime: str) -> str:
    if device == "coreml":
        return f'{runtime} has no Core ML, which is part of macOS; use device="cpu"'
    problem = package_problem()
    return problem or f'{runtime} has no CUDA; install one that has with `pip install "raf-sdk[gpu]"`'


def _load_cuda(runtime: Any) -> str:
    """Load the CUDA libraries that pip has installed, where the system does not look; what could not be loaded."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints
        runtime.preload_dlls()
    return "; ".join(said.getvalue().splitlines())
