"""A neutral head mesh in, a 52-shape ARKit blendshape rig out.

>>> import raf_sdk
>>> rig = raf_sdk.Rigger().rig("head.obj")
>>> rig.save("head.glb")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from raf_runtime.errors import (
    DeviceError,
    MeshError,
    MeshFileError,
    MeshFileNotFoundError,
    ModelError,
    ModelFileNotFoundError,
    OutputError,
    PoseNameError,
    RafError,
)
from raf_sdk._mesh import Mesh
from raf_sdk._report import Report
from raf_sdk._rig import Rig

if TYPE_CHECKING:
    from raf_sdk._rigger import Rigger

__all__ = [
    "DeviceError",
    "Mesh",
    "MeshError",
    "MeshFileError",
    "MeshFileNotFoundError",
    "ModelError",
    "ModelFileNotFoundError",
    "OutputError",
    "PoseNameError",
    "RafError",
    "Report",
    "Rig",
    "Rigger",
    "__version__",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # SciPy and ONNX Runtime, which the rigger needs, take longer to load than everything else together.
    if name == "Rigger":
        from raf_sdk._rigger import Rigger

        return Rigger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
