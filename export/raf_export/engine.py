"""The last hop: from a model to a TensorRT engine, proven as far as this machine can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raf_export.gate import TOLERANCE, Measured, compare
from raf_export.model import Model, run_with_onnxruntime
from raf_export.onnx_file import open_model, temporary_folder
from raf_runtime.backends.cuda import Gpu
from raf_runtime.backends.tensorrt import DEFAULT_PROFILE, TensorRTBackend, engine_target
from raf_runtime.backends.tensorrt_api import BuiltEngine, Flavour, Profile, TensorRT
from raf_runtime.contract import OUTPUT, Precision
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError

__all__ = ["EngineReport", "export_engine"]


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What is known of an engine.

    Attributes
    ----------
    builder : str
        Which TensorRT built it.
    measured : tuple of Measured
        The largest difference of each hop on each head.
    unverified : str
        Why the engine's own values could not be compared on this machine; nothing where they were.
    """

    builder: str
    measured: tuple[Measured, ...]
    unverified: str


def export_engine(
    source: Path,
    out: Path,
    flavour: Flavour,
    *,
    precision: Precision | None = None,
    capability: str | None = None,
    profile: Profile = DEFAULT_PROFILE,
    head: Path | None = None,
) -> EngineReport:
    """Build an engine and check every hop on the way.

    Parameters
    ----------
    source, precision, head
        As for :func:`raf_export.onnx_file.export_onnx`.
    out : Path
        The engine file to write; only replaced when every check has passed.
    flavour : str
        ``"tensorrt"`` or ``"tensorrt_rtx"``.
    capability : str, optional
        Compute capability to build for, only with ``"tensorrt_rtx"``; that of this machine's GPU by default.
    profile : Profile
        Numbers of vertices to build for.

    Raises
    ------
    DeviceError
        If TensorRT is missing, cannot build for the capability, or there is no GPU and no capability was named.
    ModelError
        If the source cannot be read, a hop fails its gate, or TensorRT cannot build the model.
    MeshError
        If the head cannot be used.
    OutputError
        If the file cannot be written.
    """
    tensorrt = TensorRT.find(flavour)
    tensorrt.require(capability)
    gpu = _gpu_to_compare_on(capability)
    with temporary_folder(out) as folder:
        model = open_model(source, precision, head)
        built = tensorrt.build(model.content, profile, capability)
        _check_tensors(built, model)
        name, built_for = (gpu.name, gpu.capability) if isinstance(gpu, Gpu) else ("any", str(capability))
        target = engine_target(model.content, tensorrt, name, built_for, model.precision, profile)
        temporary = folder / "model.engine"
        EngineFile(built.data, target, model.metadata).write(temporary)
        compared = _compared(temporary, model, profile, head) if isinstance(gpu, Gpu) else []
        temporary.replace(out)
    unverified = "" if isinstance(gpu, Gpu) else gpu
    return EngineReport(str(tensorrt), (*model.measured, *compared), unverified)


def _gpu_to_compare_on(capability: str | None) -> Gpu | str:
    """The GPU that the engine is for, or why it is not here."""
    try:
        gpu = Gpu.find()
    except DeviceError as error:
        if capability is None:
            raise DeviceError(
                f"{error}. TensorRT-RTX also builds ahead of time: --compute-capability"
            ) from error
        return str(error)
    if capability in (None, gpu.capability):
        return gpu
    return f"this machine's {gpu.name} has compute capability {gpu.capability}, not {capability}"


def _check_tensors(built: BuiltEngine, model: Model) -> None:
    wanted = {name: tuple(-1 if n == "V" else n for n in shape) for name, shape in model.tensors.items()}
    outputs = {OUTPUT: wanted.pop(OUTPUT)}
    if built.inputs != wanted or built.outputs != outputs:
        raise ModelError(
            f"the engine maps {built.inputs} to {built.outputs}, the contract {wanted} to {outputs}. Nothing was "
            "written"
        )


def _compared(path: Path, model: Model, profile: Profile, head: Path | None) -> list[Measured]:
    backend = TensorRTBackend.load(path)
    if backend.profile != profile:
        raise ModelError(f"the engine takes {backend.profile} vertices, not {profile}. Nothing was written")
    heads = [each for each in model.heads(head) if profile.minimum <= each.vertices <= profile.maximum]
    if not heads:
        raise ModelError(f"profile {profile} takes none of the heads that engines are judged on; widen it")
    before = run_with_onnxruntime(model.graph)
    return compare("the engine", before, backend.run, heads, TOLERANCE[model.precision])
