"""The one place that speaks to TensorRT: ``tensorrt`` 10 and 11, and ``tensorrt_rtx``, whose interface mirrors theirs.

What differs between them:

- Networks are strongly typed, so that a model computes in the precisions that its graph names. TensorRT 10 has to
  be told; 11 and RTX know nothing else and ignore the flag.
- RTX builds for a compute capability that is named, on machines without a GPU too. Left alone it leaves Turing out,
  and an engine for the machine's own GPU names that as the current one. Plain TensorRT builds for the GPU in the
  machine and nothing else.
- RTX has no fp32 matrix products for compute capability 7.5.

Axis legend: V surface vertices.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import astuple, dataclass, field
from functools import cache
from typing import Any, Final, Literal

from raf_runtime.errors import DeviceError, ModelError, RafError

__all__ = ["BuiltEngine", "Flavour", "LoadedEngine", "Profile", "TensorRT", "with_vertices"]

Flavour = Literal["tensorrt", "tensorrt_rtx"]
Shapes = dict[str, tuple[int, ...]]
_EXTRAS: Final[dict[Flavour, str]] = {"tensorrt": "trt", "tensorrt_rtx": "trt-rtx"}


@dataclass(frozen=True, slots=True)
class Profile:
    """Numbers of vertices that an engine takes, and the one that it is fastest at.

    Raises
    ------
    ModelError
        If they are not positive and in ascending order.
    """

    minimum: int = 100
    optimum: int = 15_000
    maximum: int = 100_000

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.optimum <= self.maximum:
            raise ModelError(
                f"profile {self} makes no sense; give three numbers of vertices in ascending order, such as "
                "100,15000,100000"
            )

    def __str__(self) -> str:
        return ",".join(map(str, astuple(self)))


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A serialised engine, and the tensors that its network takes and gives; -1 stands for V."""

    data: bytes
    inputs: Shapes
    outputs: Shapes


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An installed TensorRT.

    Attributes
    ----------
    flavour : str
        Name of its module.
    version : str
        As it says itself.
    """

    flavour: Flavour
    version: str
    _module: Any = field(repr=False)
    _log: Any = field(repr=False)

    @classmethod
    def find(cls, flavour: Flavour | None = None) -> TensorRT:
        """Import a flavour; by default the first that is installed, plain TensorRT before RTX.

        Raises
        ------
        DeviceError
            If it is not installed or cannot be loaded.
        """
        wanted: tuple[Flavour, ...] = tuple(_EXTRAS) if flavour is None else (flavour,)
        reasons: list[str] = []
        for name in wanted:
            try:
                module, log = _imported(name)
            except (ImportError, OSError, RuntimeError) as error:
                reasons.append(f"{name}: {error}")
            else:
                return cls(name, str(module.__version__), module, log)
        installs = " or ".join(f'`pip install "raf-sdk[{_EXTRAS[name]}]"`' for name in wanted)
        raise DeviceError(f"TensorRT cannot be loaded ({'; '.join(reasons)}); install it with {installs}")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities that engines can be built for without a GPU; none in plain TensorRT."""
        members = getattr(self._module, "ComputeCapability", None)
        found = [re.fullmatch(r"SM(\d+)(\d)", name) for name in getattr(members, "__members__", ())]
        return tuple(f"{match[1]}.{match[2]}" for match in found if match)

    def require(self, capability: str | None) -> None:
        """Refuse a compute capability that engines cannot be built for; None is the GPU in this machine.

        Raises
        ------
        DeviceError
            If there is no such capability, or this is plain TensorRT.
        """
        if capability is not None and capability not in self.capabilities:
            can = ", ".join(self.capabilities) or "that of the GPU in this machine only"
            raise DeviceError(
                f"{self} cannot build for compute capability {capability}; it can for {can}. Choose one of these"
            )

    def build(self, model: bytes, profile: Profile, capability: str | None = None) -> BuiltEngine:
        """Build an engine from an ONNX file.

        Parameters
        ----------
        model : bytes
            The content of an ONNX file; its one dynamic axis is V.
        profile : Profile
            Numbers of vertices to build for.
        capability : str, optional
            Compute capability to build for, such as ``"7.5"``; that of the GPU in this machine by default.

        Raises
        ------
        DeviceError
            If there is no such capability, or TensorRT or the driver cannot build for it.
        ModelError
            If TensorRT cannot read or build the model.
        """
        trt = self._module
        self.require(capability)
        self._log.errors.clear()
        try:
            builder = trt.Builder(self._log)
            network = builder.create_network(_strongly_typed(trt))
            config = builder.create_builder_config()
        except Exception as error:  # pybind11 raises TypeError where the library has returned nothing
            raise self._failure("start", capability) from error
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(model):
            said = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise ModelError(f"{self} cannot read the model: {said}. Export it again with `raf-export`")
        inputs = _shapes(network.get_input(i) for i in range(network.num_inputs))
        # TF32 rounds the factors of fp32 products as coarsely as fp16 does.
        config.clear_flag(trt.BuilderFlag.TF32)
        if self.capabilities:
            config.num_compute_capabilities = 1
            target = "CURRENT" if capability is None else "SM" + capability.replace(".", "")
            config.set_compute_capability(getattr(trt.ComputeCapability, target), 0)
        limits = builder.create_optimization_profile()
        for name, shape in inputs.items():
            if -1 in shape:
                limits.set_shape(name, *(with_vertices(shape, vertices) for vertices in astuple(profile)))
        if config.add_optimization_profile(limits) != 0:
            raise self._failure("take the profile", capability)
        data = builder.build_serialized_network(network, config)
        if data is None:
            raise self._failure("build the model", capability)
        outputs = _shapes(network.get_output(i) for i in range(network.num_outputs))
        return BuiltEngine(bytes(memoryview(data)), inputs, outputs)

    def load(self, engine: bytes) -> LoadedEngine:
        """Make a serialised engine ready to run on the GPU in this machine.

        Raises
        ------
        DeviceError
            If the driver is too old for this TensorRT.
        ModelError
            If the engine is damaged, or of another version or GPU.
        """
        self._log.errors.clear()
        try:
            runtime = self._module.Runtime(self._log)
            loaded = runtime.deserialize_cuda_engine(engine)
            context = None if loaded is None else loaded.create_execution_context()
        except Exception as error:  # pybind11 raises TypeError where the library has returned nothing
            raise self._failure("load the engine", None) from error
        if context is None:
            raise self._failure("load the engine", None)
        return LoadedEngine(self._module, self._log, runtime, loaded, context)

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}"

    def _failure(self, what: str, capability: str | None) -> RafError:
        said = " ".join(self._log.errors)
        if re.search(r"driver version is insufficient|[eE]rror:? 35\b", said):
            return DeviceError(
                f"{self} cannot {what}: the NVIDIA driver is too old for it. Update the driver (`nvidia-smi` shows "
                "it; CUDA 13 needs 580 or newer), or install a TensorRT for its CUDA version"
            )
        if re.search(r"FP32 GEMM is not supported", said):
            target = f"compute capability {capability}" if capability else "this GPU"
            return DeviceError(
                f"{self} cannot {what}: it has no fp32 matrix products for {target}. Use a model in half precision: "
                "`raf-export --precision fp16`"
            )
        if re.search(r"out ?of ?memory", said, re.IGNORECASE):
            return DeviceError(f"{self} cannot {what}: the GPU is short of memory. End what else runs on it")
        return ModelError(f"{self} cannot {what}: {said or 'it gives no reason'}")


class LoadedEngine:
    """An engine on the GPU.

    Attributes
    ----------
    inputs, outputs : dict
        Names and shapes of its tensors, all float32; -1 stands for V.
    """

    def __init__(self, module: Any, log: Any, runtime: Any, engine: Any, context: Any) -> None:
        # The engine must not outlive the runtime that made it.
        self._log, self._runtime, self._engine, self._context = log, runtime, engine, context
        self.inputs: Shapes = {}
        self.outputs: Shapes = {}
        for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
            if engine.get_tensor_dtype(name) != module.float32:
                raise ModelError(f"the engine's {name} is not float32; build it from a model of `raf-export`")
            is_input = engine.get_tensor_mode(name) == module.TensorIOMode.INPUT
            (self.inputs if is_input else self.outputs)[name] = tuple(engine.get_tensor_shape(name))

    @property
    def profile(self) -> Profile:
        """The numbers of vertices that it was built for."""
        for name, shape in self.inputs.items():
            if -1 in shape:
                limits = self._engine.get_tensor_profile_shape(name, 0)
                return Profile(*(tuple(limit)[shape.index(-1)] for limit in limits))
        raise ModelError("the engine has no axis of vertices; build it from a model of `raf-export`")

    def run(self, vertices: int, addresses: dict[str, int], stream: int) -> None:
        """Start a run on a stream, for V vertices, with the tensors at these addresses.

        Raises
        ------
        ModelError
            If TensorRT fails.
        """
        self._log.errors.clear()
        done = all(
            self._context.set_input_shape(name, with_vertices(shape, vertices))
            for name, shape in self.inputs.items()
        )
        done = done and all(self._context.set_tensor_address(*named) for named in addresses.items())
        if not (done and self._context.execute_async_v3(stream)):
            raise ModelError(f"the engine fails: {' '.join(self._log.errors) or 'TensorRT gives no reason'}")


def with_vertices(shape: tuple[int, ...], vertices: int) -> tuple[int, ...]:
    """A shape with V in place of -1."""
    return tuple(vertices if length < 0 else length for length in shape)


@cache
def _imported(name: Flavour) -> tuple[Any, Any]:
    """Module and listener; TensorRT keeps the first listener that it is given, so there is one."""
    module = importlib.import_module(name)
    serious = (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR)

    class Listener(module.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: object, msg: str) -> None:
            if severity in serious:
                self.errors.append(msg.strip())

    return module, Listener()


def _strongly_typed(trt: Any) -> int:
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _shapes(tensors: Any) -> Shapes:
    return {tensor.name: tuple(tensor.shape) for tensor in tensors}
