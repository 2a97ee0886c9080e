"""Which package of ONNX Runtime is in place.

``onnxruntime``, ``onnxruntime-gpu`` and others install the same files. The one that was installed last works, with the
others beside it; removing any of them takes files of all.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from raf_runtime.errors import DeviceError

__all__ = ["import_onnxruntime", "installed_packages", "package_problem"]

_PLAIN = "onnxruntime"


def import_onnxruntime() -> Any:
    """The module ``onnxruntime``.

    Raises
    ------
    DeviceError
        If it is missing or damaged; the message has the command that repairs it.
    """
    try:
        module = importlib.import_module("onnxruntime")
        # Where one of two packages was removed, Python makes a namespace of the files that are left.
        _ = module.InferenceSession
    except Exception as error:  # a library that cannot be loaded raises errors of many kinds
        packages = installed_packages()
        if not packages:
            raise DeviceError("ONNX Runtime is not installed; run `pip install onnxruntime`") from error
        raise DeviceError(
            f"ONNX Runtime is damaged ({error}). {_named(packages)}: of packages that share their files, removing "
            f"one takes files of the others. Repair it with `{_reinstall(packages)}`"
        ) from error
    return module


def installed_packages() -> dict[str, str]:
    """Version of every installed package that brings a module ``onnxruntime``; the plain one comes last."""
    owners = set(importlib.metadata.packages_distributions().get("onnxruntime", []))
    return {
        name: importlib.metadata.version(name)
        for name in sorted(owners, key=lambda owner: (owner == _PLAIN, owner))
    }


def package_problem() -> str | None:
    """What is wrong with the packages of ONNX Runtime, and the command that puts it right; None if nothing is."""
    try:
        in_place = import_onnxruntime().package_name
    except DeviceError as error:
        return str(error)
    packages = installed_packages()
    if in_place != _PLAIN or list(packages) in ([], [_PLAIN]):
        return None
    wanted = next(iter(packages))
    return (
        f"{_named(packages)}, and {in_place} has overwritten the files of {wanted}: only the CPU is left. Put them "
        f"back with `{_reinstall(packages)}`"
    )


def _named(packages: dict[str, str]) -> str:
    said = [f"{name} {version}" for name, version in packages.items()]
    return f"{' and '.join(said)} {'is' if len(said) == 1 else 'are'} installed"


def _reinstall(packages: dict[str, str]) -> str:
    name, version = next(iter(packages.items()))
    return f"pip install --force-reinstall --no-deps {name}=={version}"
