"""The NVIDIA driver through its C interface: which GPU there is, memory on it, and a stream.

The driver brings this library along wherever there is one, so that nothing has to be installed to ask what a machine
has. Signatures: NVIDIA, "CUDA Driver API".
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raf_runtime.errors import DeviceError

__all__ = ["Gpu", "GpuMemory"]

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability
_FIRST_DEVICE = 0  # CUDA_VISIBLE_DEVICES chooses another
_SHORT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first GPU of this machine.

    Attributes
    ----------
    name : str
        As the driver calls it.
    capability : str
        Compute capability, such as ``"7.5"``.
    driver : str
        The newest CUDA version that the installed driver can serve, such as ``"13.0"``.
    """

    name: str
    capability: str
    driver: str

    @classmethod
    def find(cls) -> Gpu:
        """Ask the driver.

        Raises
        ------
        DeviceError
            If there is no NVIDIA driver or it has no GPU.
        """
        cuda = _Driver.load()
        name = ctypes.create_string_buffer(256)
        cuda.call("cuDeviceGetName", name, 256, cuda.device)
        major, minor = (
            cuda.integer("cuDeviceGetAttribute", ctypes.c_int(attribute), cuda.device)
            for attribute in (_MAJOR, _MINOR)
        )
        version = cuda.integer("cuDriverGetVersion")
        return cls(
            name.value.decode(errors="replace"),
            f"{major}.{minor}",
            f"{version // 1000}.{version % 1000 // 10}",
        )


class GpuMemory:
    """Arrays on the GPU by name, and the stream that works on them.

    Memory is kept from run to run and only grows; :meth:`close` gives it back.

    Raises
    ------
    DeviceError
        As :meth:`Gpu.find`; by the methods also if memory runs out or the driver fails.
    """

    def __init__(self) -> None:
        self._cuda = _Driver.load()
        self._context = ctypes.c_void_p()
        self._cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._cuda.device)
        self.activate()
        stream = ctypes.c_void_p()
        self._cuda.call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        self.stream = int(stream.value or 0)
        self._arrays: dict[str, tuple[int, int]] = {}

    def activate(self) -> None:
        """Make the GPU current in this thread."""
        self._cuda.call("cuCtxSetCurrent", self._context)

    def reserve(self, name: str, size: int) -> int:
        """Address of at least ``size`` bytes under a name; what was there may be lost."""
        address, capacity = self._arrays.get(name, (0, 0))
        if capacity < size:
            self._free(name)
            pointer = ctypes.c_uint64()
            self._cuda.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
            address = pointer.value
            self._arrays[name] = (address, size)
        return address

    def upload(self, name: str, array: NDArray[np.float32]) -> int:
        """Copy an array to the GPU; returns its address there."""
        array = np.ascontiguousarray(array)
        address = self.reserve(name, array.nbytes)
        self._cuda.call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
        )
        return address

    def download(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Wait for the stream and copy an array of this shape from the GPU."""
        array = np.empty(shape, dtype=np.float32)
        self._cuda.call("cuStreamSynchronize", ctypes.c_void_p(self.stream))
        self._cuda.call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(self._arrays[name][0]),
            ctypes.c_size_t(array.nbytes),
        )
        return array

    def close(self) -> None:
        """Give the memory back; the object cannot be used afterwards."""
        self.activate()
        for name in list(self._arrays):
            self._free(name)
        self._cuda.call("cuStreamDestroy_v2", ctypes.c_void_p(self.stream))
        # The context stays: TensorRT shares it and may let go of its own memory later.

    def _free(self, name: str) -> None:
        if name in self._arrays:
            self._cuda.call("cuMemFree_v2", ctypes.c_uint64(self._arrays.pop(name)[0]))


@dataclass(frozen=True, slots=True)
class _Driver:
    """The library, with the first device found."""

    library: Any
    device: ctypes.c_int

    @classmethod
    def load(cls) -> _Driver:
        try:
            library = _open_library()
        except OSError as error:
            raise DeviceError(
                f"this machine has no NVIDIA driver ({_LIBRARY} is missing); install it where there is an NVIDIA "
                'GPU, or use device="cpu"'
            ) from error
        cuda = cls(library, ctypes.c_int())
        cuda.call("cuInit", ctypes.c_uint(0))
        if not cuda.integer("cuDeviceGetCount"):
            raise DeviceError(
                "the NVIDIA driver finds no GPU; look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES, or use "
                'device="cpu"'
            )
        cuda.call("cuDeviceGet", ctypes.byref(cuda.device), ctypes.c_int(_FIRST_DEVICE))
        return cuda

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.library, function)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self.library.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
        said = (text.value or b"unknown error").decode(errors="replace")
        remedy = (
            "give the GPU a smaller head or end what else runs on it"
            if status == _SHORT_OF_MEMORY
            else "look at `nvidia-smi`"
        )
        raise DeviceError(
            f'the NVIDIA driver failed in {function}: {said} ({status}); {remedy}, or use device="cpu"'
        )

    def integer(self, function: str, *arguments: Any) -> int:
        """Call a function that writes one int through its first argument."""
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value), *arguments)
        return value.value


def _open_library() -> Any:
    return ctypes.CDLL(_LIBRARY)
