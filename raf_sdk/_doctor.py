"""What of this machine and its packages can run the shipped model: the text of ``raf doctor``."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

import raf_sdk
from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.devices import AUTOMATIC, DEVICES, find_gpu, try_device
from raf_runtime.errors import DeviceError, RafError
from raf_runtime.model_file import ModelFile
from raf_runtime.packages import import_onnxruntime, installed_packages, package_problem
from raf_runtime.threads import usable_cores
from raf_runtime.trial import trial_inputs
from raf_sdk._rigger import SHIPPED_MODEL

__all__ = ["DeviceState", "Examination", "examine"]

_TENSORRT: Final = ("tensorrt", "tensorrt-rtx")
_LIBRARIES: Final = ("numpy", "scipy")


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Whether a device can be used.

    Attributes
    ----------
    device : str
        Its name.
    version : str
        Packages that would run it, or ``"not installed"``.
    usable : bool
        Whether a trial run went well.
    reason : str
        Why not, and what to do; empty if it is usable.
    """

    device: str
    version: str
    usable: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What :func:`examine` found.

    Attributes
    ----------
    machine : dict of str
        Label -> text.
    devices : list of DeviceState
        The CPU first.
    automatic : str or None
        What ``device="auto"`` takes; None where not even the CPU can be used.
    problems : list of str
        What is wrong with the installation, and the command that puts it right.
    """

    machine: dict[str, str]
    devices: list[DeviceState]
    automatic: str | None
    problems: list[str]

    @property
    def healthy(self) -> bool:
        """Whether the CPU can be used."""
        return self.automatic is not None

    def to_json(self) -> str:
        """The attributes as a JSON object."""
        return json.dumps(asdict(self) | {"healthy": self.healthy}, indent=2)

    def __str__(self) -> str:
        lines = _columns([list(item) for item in self.machine.items()])
        rows = [
            [state.device, "yes" if state.usable else "no", state.version, state.reason]
            for state in self.devices
        ]
        lines += ["", *_columns([["device", "usable", "version", "why not, and what to do"], *rows])]
        lines += ["", f'device="auto" takes {self.automatic or "none: not even the CPU can be used"}']
        return "\n".join(lines + [f"problem: {problem}" for problem in self.problems])


def examine() -> Examination:
    """Try every device with the shipped model."""
    problem = package_problem()
    states = _devices()
    usable = [state.device for state in states if state.usable]
    return Examination(
        _machine(),
        states,
        next((name for name in (*AUTOMATIC, "cpu") if name in usable), None),
        [problem] if problem else [],
    )


def _machine() -> dict[str, str]:
    return {
        "raf-sdk": raf_sdk.__version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "threads": f"{usable_cores()} by default",
        "packages": _versions((*_LIBRARIES, *installed_packages(), *_TENSORRT)),
        "ONNX Runtime": _providers(),
        "GPU": _gpu(),
        "model": f"{SHIPPED_MODEL.name}, SHA-256 {hashlib.sha256(SHIPPED_MODEL.read_bytes()).hexdigest()}",
    }


def _devices() -> list[DeviceState]:
    try:
        cpu = OnnxRuntimeBackend.open(SHIPPED_MODEL, "cpu")
        model = ModelFile.understand(SHIPPED_MODEL, cpu.metadata, cpu.inputs, cpu.outputs)
        if not np.isfinite(cpu.run(trial_inputs(model))).all():
            raise DeviceError("a trial run gave numbers that are not finite; install ONNX Runtime again")
    except RafError as error:
        others = [
            DeviceState(name, _version(name), False, "the CPU, which it is compared with, cannot be used")
            for name in DEVICES[2:]
        ]
        return [DeviceState("cpu", _version("cpu"), False, str(error)), *others]
    states = [DeviceState("cpu", _version("cpu"), True, "")]
    for name in DEVICES[2:]:
        try:
            try_device(name, model, cpu)
        except DeviceError as error:
            states.append(DeviceState(name, _version(name), False, str(error.__cause__ or error)))
        else:
            states.append(DeviceState(name, _version(name), True, ""))
    return states


def _version(device: str) -> str:
    return _versions(_TENSORRT if device == "tensorrt" else installed_packages()) or "not installed"


def _versions(packages: tuple[str, ...] | dict[str, str]) -> str:
    found: list[str] = []
    for name in packages:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _providers() -> str:
    try:
        runtime = import_onnxruntime()
    except DeviceError:
        return "cannot be loaded"
    providers = ", ".join(
        name.removesuffix("ExecutionProvider") for name in runtime.get_available_providers()
    )
    return f"{runtime.package_name} {runtime.__version__} is in place, with {providers}"


def _gpu() -> str:
    try:
        gpu = find_gpu()
    except DeviceError:
        return "none that can be used"
    return f"{gpu.name}, compute capability {gpu.capability}, driver for CUDA {gpu.driver}"


def _columns(rows: list[list[str]]) -> list[str]:
    """Lines of a table; the last column may be of any length."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return ["  ".join([*map(str.ljust, row, widths), row[-1]]).rstrip() for row in rows]
