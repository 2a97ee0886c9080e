"""NVIDIA's driver and TensorRT, as far as raf-sdk speaks to them, in host memory.

A stream runs only when it is waited for, memory is checked for its bounds, and an engine is its ONNX file run by ONNX
Runtime. What differs between versions of TensorRT differs here too.
"""

from __future__ import annotations

import ctypes
import enum
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_EIGENPAIRS,
    META_POSES,
    META_VERSION,
    OUTPUT,
    POSE_INPUT,
)

ERRORS = {2: b"out of memory", 100: b"no CUDA-capable device is detected", 999: b"unknown error"}
STREAM = 77
K = 4
METADATA = {META_VERSION: CONTRACT_VERSION, META_POSES: '["jawOpen", "mouthClose"]', META_EIGENPAIRS: str(K)}


class FakeDriver:
    """Stands for libcuda; ``fail`` maps a function to the status that it gives."""

    def __init__(self, name: str = "Tesla T4", capability: tuple[int, int] = (7, 5), count: int = 1) -> None:
        self.name, self.capability, self.count = name, capability, count
        self.fail: dict[str, int] = {}
        self.memory: dict[int, Any] = {}
        self.queue: list[Callable[[], None]] = []

    def __getattribute__(self, name: str) -> Any:
        status = object.__getattribute__(self, "fail").get(name) if name.startswith("cu") else None
        return object.__getattribute__(self, name) if status is None else lambda *_: status

    def cuInit(self, _flags: Any) -> int:
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13010
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: Any) -> int:
        device._obj.value = ordinal.value
        return 0

    def cuDeviceGetName(self, buffer: Any, _size: int, _device: Any) -> int:
        buffer.value = self.name.encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: Any, _device: Any) -> int:
        value._obj.value = self.capability[attribute.value - 75]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, _device: Any) -> int:
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        return 0 if context.value == 1 else 201

    def cuStreamCreate(self, stream: Any, _flags: Any) -> int:
        stream._obj.value = STREAM
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        return 0 if stream.value == STREAM else 400

    def cuStreamSynchronize(self, stream: Any) -> int:
        assert stream.value == STREAM
        while self.queue:
            self.queue.pop(0)()
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.memory[ctypes.addressof(block)] = block
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:
        del self.memory[pointer.value]
        return 0

    def cuMemcpyHtoD_v2(self, target: Any, source: Any, size: Any) -> int:
        assert size.value <= len(self.memory[target.value])
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, target: Any, source: Any, size: Any) -> int:
        assert size.value <= len(self.memory[source.value])
        ctypes.memmove(target.value, source.value, size.value)
        return 0

    def cuGetErrorString(self, status: Any, text: Any) -> int:
        text._obj.value = ERRORS.get(status.value)
        return 0

    def array(self, address: int, shape: tuple[int, ...]) -> np.ndarray:
        """What is on the "GPU" at an address."""
        block = self.memory[address]
        assert 4 * int(np.prod(shape)) <= len(block)
        return np.frombuffer(block, np.float32, int(np.prod(shape))).reshape(shape)


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class Logger:
    def __init__(self) -> None: ...

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Capability(enum.Enum):
    NONE = 0
    CURRENT = 1
    SM75 = 75
    SM86 = 86
    SM120 = 120


class FakeTensorRT:
    """Stands for the module ``tensorrt`` or ``tensorrt_rtx``.

    ``trouble`` makes it fail the way it does: "stale driver", "out of memory", "fp32", "parse", "zeros".
    """

    def __init__(
        self, driver: FakeDriver, version: str, *, rtx: bool = False, typed_flag: bool = True
    ) -> None:
        self.__version__ = version
        self.driver, self.rtx = driver, rtx
        self.trouble = ""
        self.builds: list[dict[str, Any]] = []
        self.float32 = "float32"
        self.TensorIOMode = Mode
        self.ILogger = type("ILogger", (Logger,), {"Severity": Severity})
        self.BuilderFlag = SimpleNamespace(TF32="TF32")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(**({"STRONGLY_TYPED": 1} if typed_flag else {}))
        if rtx:
            self.ComputeCapability = Capability

    def Builder(self, log: Any) -> Any:
        if self.trouble == "stale driver" and not self.rtx:
            log.log(
                Severity.ERROR, "CUDA initialization failure with error: 35. Please check your installation"
            )
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return FakeBuilder(self, log)

    def OnnxParser(self, network: Any, _log: Any) -> Any:
        def parse(model: bytes) -> bool:
            if self.trouble == "parse":
                return False
            network.read(model)
            return True

        return SimpleNamespace(
            parse=parse, num_errors=1, get_error=lambda i: f"node {i}: ScatterND is refused"
        )

    def Runtime(self, log: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda data: self._load(data, log))

    def _load(self, data: bytes, log: Any) -> Any:
        if self.trouble == "stale driver":
            log.log(
                Severity.ERROR, "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"
            )
            return None
        line, _, model = data.partition(b"\n")
        said = json.loads(line)
        if said["version"] != self.__version__:
            log.log(Severity.ERROR, "The engine plan file is not compatible with this version of TensorRT")
            return None
        return FakeEngine(self, model, said["profile"])


def shapes_of(values: Any) -> dict[str, tuple[int, ...]]:
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim
        )
        for value in values
    }


class FakeNetwork:
    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def read(self, model: bytes) -> None:
        self.model = model
        graph = onnx.load_from_string(model).graph
        for found, values in ((self.inputs, graph.input), (self.outputs, graph.output)):
            found += [SimpleNamespace(name=name, shape=shape) for name, shape in shapes_of(values).items()]

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> Any:
        return self.inputs[index]

    def get_output(self, index: int) -> Any:
        return self.outputs[index]


class FakeConfig:
    def __init__(self, rtx: bool) -> None:
        self.cleared: list[str] = []
        self.profiles: list[dict[str, Any]] = []
        self.capabilities: list[Capability] = []
        if rtx:
            self.num_compute_capabilities = 0
            self.set_compute_capability = lambda capability, index: self.capabilities.insert(
                index, capability
            )

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1


class FakeBuilder:
    def __init__(self, module: FakeTensorRT, log: Any) -> None:
        self.module, self.log = module, log

    def create_network(self, flags: int) -> FakeNetwork:
        return FakeNetwork(flags)

    def create_builder_config(self) -> FakeConfig:
        return FakeConfig(self.module.rtx)

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        return SimpleNamespace(shapes=shapes, set_shape=lambda name, *limits: shapes.update({name: limits}))

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes | None:
        module = self.module
        said = {
            "out of memory": "Requested amount of GPU memory: out of memory",
            "fp32": "FP32 GEMM is not supported",
        }
        if module.trouble in said:
            self.log.log(Severity.ERROR, said[module.trouble])
            return None
        (profile,) = config.profiles
        module.builds.append(
            {
                "flags": network.flags,
                "cleared": config.cleared,
                "target": config.capabilities,
                "profile": profile,
            }
        )
        header = {"version": module.__version__, "profile": profile}
        return json.dumps(header).encode() + b"\n" + network.model


class FakeEngine:
    def __init__(self, module: FakeTensorRT, model: bytes, profile: dict[str, Any]) -> None:
        self.module, self.profile = module, profile
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        graph = onnx.load_from_string(model).graph
        self.inputs, self.outputs = shapes_of(graph.input), shapes_of(graph.output)
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, _name: str) -> str:
        return self.module.float32

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self.inputs else Mode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return {**self.inputs, **self.outputs}[name]

    def get_tensor_profile_shape(self, name: str, _index: int) -> Any:
        return self.profile[name]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM and set(self.addresses) == set(self.engine.names)
        self.engine.module.driver.queue.append(self.execute)
        return True

    def execute(self) -> None:
        driver = self.engine.module.driver
        inputs = {name: driver.array(self.addresses[name], self.shapes[name]) for name in self.engine.inputs}
        for name, value in zip(self.engine.outputs, self.engine.session.run(None, inputs), strict=True):
            value = np.zeros_like(value) if self.engine.module.trouble == "zeros" else value
            driver.array(self.addresses[name], value.shape)[:] = value


def write_model(path: Path, *, posed: bool = False, output: str = OUTPUT, extra: str = "") -> Path:
    """Pose i moves every vertex by i + 1 times its position, plus eigenvector 0; a posed one by the pose given."""
    inputs = {**INPUTS, **({POSE_INPUT: (2,)} if posed else {}), **({extra: ("V",)} if extra else {})}
    factor = helper.make_node("ReduceSum", [POSE_INPUT, "axes"], ["factors"]) if posed else None
    fixed = helper.make_tensor("factors", TensorProto.FLOAT, (2, 1, 1), [1.0, 2.0])
    graph = helper.make_graph(
        [
            *([factor] if factor else []),
            helper.make_node("Mul", ["positions", "factors"], ["scaled"]),
            helper.make_node("Slice", ["eigenvectors", "zeros", "end"], ["first"]),
            helper.make_node("Add", ["scaled", "first"], ["sum"]),
            helper.make_node("Reshape", ["sum", "shape"], [output]),
        ],
        "synthetic",
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, [K if axis == "K" else axis for axis in axes]
            )
            for name, axes in inputs.items()
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1 if posed else 2, "V", 3))],
        [
            *([] if posed else [fixed]),
            helper.make_tensor("axes", TensorProto.INT64, (1,), [0]),
            helper.make_tensor("zeros", TensorProto.INT64, (2,), [0, 0]),
            helper.make_tensor("end", TensorProto.INT64, (2,), [10_000_000, 1]),
            helper.make_tensor("shape", TensorProto.INT64, (3,), [1 if posed else 2, -1, 3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, METADATA)
    onnx.save(model, path)
    return path
