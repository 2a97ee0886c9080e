"""Run a model as a TensorRT engine on the GPU in this machine.

Axis legend: V surface vertices, P poses.
"""

from __future__ import annotations

import hashlib
import math
import weakref
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from raf_runtime.backends.cuda import Gpu, GpuMemory
from raf_runtime.backends.tensorrt_api import LoadedEngine, Profile, TensorRT, with_vertices
from raf_runtime.contract import INPUTS, META_PRECISION, OUTPUT, POSE_INPUT, Precision
from raf_runtime.engine_cache import cached_engine
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError

__all__ = ["DEFAULT_PROFILE", "TensorRTBackend", "engine_target"]

DEFAULT_PROFILE: Final = Profile()


class TensorRTBackend:
    """An engine on the GPU; see :meth:`open` and :meth:`load`.

    Attributes
    ----------
    metadata : dict of str
        That of the model, see :mod:`raf_runtime.contract`.
    inputs : tuple of str
        Names of its tensors, in the order of the contract.
    profile : Profile
        Numbers of vertices that it takes.
    """

    def __init__(self, engine: LoadedEngine, metadata: dict[str, str]) -> None:
        unknown = set(engine.inputs) - {*INPUTS, POSE_INPUT}
        if unknown or list(engine.outputs) != [OUTPUT]:
            raise ModelError(
                f"the engine maps {', '.join(engine.inputs)} to {', '.join(engine.outputs)}; build it from a model "
                "of `raf-export`"
            )
        self.metadata = metadata
        self.inputs = tuple(name for name in (*INPUTS, POSE_INPUT) if name in engine.inputs)
        self.profile = engine.profile
        self._engine = engine
        self._memory = GpuMemory()
        # At the end of the process the driver takes everything back by itself.
        weakref.finalize(self, self._memory.close).atexit = False

    @classmethod
    def open(
        cls,
        model: Path,
        metadata: dict[str, str],
        precision: Precision,
        profile: Profile = DEFAULT_PROFILE,
    ) -> TensorRTBackend:
        """Run an ONNX model, as an engine from the cache or built for this GPU.

        Parameters
        ----------
        model : Path
            An ONNX file of ``raf-export``.
        metadata : dict of str
            What the file says of itself.
        precision : str
            ``"fp32"`` or ``"fp16"``: what the graph computes in. TensorRT changes no precision.
        profile : Profile
            Numbers of vertices to build for.

        Raises
        ------
        DeviceError
            If there is no GPU or no TensorRT, or the driver is too old for it.
        ModelError
            If the model is missing, is of another precision, or TensorRT cannot use it.
        """
        said = metadata.get(META_PRECISION, "fp32")
        if said != precision:
            raise ModelError(
                f"{model} computes in {said}, not in {precision}; make another with "
                f"`raf-export --precision {precision}`"
            )
        gpu, tensorrt = Gpu.find(), TensorRT.find()
        try:
            content = model.read_bytes()
        except OSError as error:
            raise ModelFileNotFoundError(f"model {model} cannot be read: {error}") from error
        target = engine_target(content, tensorrt, gpu.name, gpu.capability, precision, profile)

        def build() -> EngineFile:
            return EngineFile(tensorrt.build(content, profile).data, target, metadata)

        return cached_engine(target, build, lambda engine: cls(tensorrt.load(engine.data), metadata))

    @classmethod
    def load(cls, path: Path) -> TensorRTBackend:
        """Run an engine file of ``raf-export``.

        Raises
        ------
        DeviceError
            If there is no GPU or no TensorRT, or they are not those that the engine was built for.
        ModelError
            If the file is not an engine, is damaged, or TensorRT cannot use it.
        """
        engine = EngineFile.read(path)
        gpu, target = Gpu.find(), engine.target
        tensorrt = TensorRT.find("tensorrt_rtx" if target.get("flavour") == "tensorrt_rtx" else "tensorrt")
        for what, here in (("version", tensorrt.version), ("capability", gpu.capability)):
            if target.get(what) != here:
                raise DeviceError(
                    f"engine {path} was built for {what} {target.get(what)} and this machine has {here} "
                    f"({tensorrt}, {gpu.name}); build one for it with `raf-export`"
                )
        return cls(tensorrt.load(engine.data), engine.metadata)

    @property
    def device(self) -> str:
        """``"tensorrt"``."""
        return "tensorrt"

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Predict displacements (P, V, 3) float32 from the tensors of :mod:`raf_runtime.contract`.

        Raises
        ------
        ModelError
            If V is outside the profile or TensorRT fails.
        DeviceError
            If the GPU is short of memory or the driver fails.
        """
        vertices = len(inputs["positions"])
        if not self.profile.minimum <= vertices <= self.profile.maximum:
            raise ModelError(
                f"the engine takes {self.profile.minimum} to {self.profile.maximum} vertices and the surface has "
                f'{vertices}; build it with another profile, or use device="cpu"'
            )
        self._memory.activate()
        addresses: dict[str, int] = {}
        for name, shape in self._engine.inputs.items():
            wanted = with_vertices(shape, vertices)
            # The GPU would read beyond the end of an array that is too small.
            if inputs[name].shape != wanted or inputs[name].dtype != np.float32:
                raise ModelError(f"{name} is {inputs[name].dtype} {inputs[name].shape}, not float32 {wanted}")
            addresses[name] = self._memory.upload(name, inputs[name])
        result = with_vertices(self._engine.outputs[OUTPUT], vertices)
        addresses[OUTPUT] = self._memory.reserve(OUTPUT, 4 * math.prod(result))
        self._engine.run(vertices, addresses, self._memory.stream)
        return self._memory.download(OUTPUT, result)


def engine_target(
    model: bytes, tensorrt: TensorRT, gpu: str, capability: str, precision: Precision, profile: Profile
) -> dict[str, str]:
    """Everything that an engine depends on."""
    return {
        "model": hashlib.sha256(model).hexdigest(),
        "flavour": tensorrt.flavour,
        "version": tensorrt.version,
        "gpu": gpu,
        "capability": capability,
        "precision": precision,
        "profile": str(profile),
    }
