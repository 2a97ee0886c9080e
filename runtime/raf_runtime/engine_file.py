"""TensorRT engines on disk: a line that says what the engine is, then the engine.

The line is JSON with the length and SHA-256 of what follows, so that a truncated or damaged file is known before
TensorRT sees it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from raf_runtime.errors import ModelError, ModelFileNotFoundError

__all__ = ["EngineFile"]

_MAGIC = b"raf-engine 1\n"
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine and what is said of it.

    Attributes
    ----------
    data : bytes
        The engine as TensorRT serialised it.
    target : dict of str
        What it was built from and for.
    metadata : dict of str
        That of the model it was built from, see :mod:`raf_runtime.contract`.
    """

    data: bytes
    target: dict[str, str]
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> EngineFile:
        """Read and check a file.

        Raises
        ------
        ModelFileNotFoundError, ModelError
            If there is none, or it is something else, truncated or damaged.
        """
        try:
            with path.open("rb") as file:
                magic, line = file.read(len(_MAGIC)), file.readline(_LONGEST_LINE)
                data = file.read()
        except FileNotFoundError as error:
            raise ModelFileNotFoundError(
                f"engine {path} does not exist; build one with `raf-export`"
            ) from error
        except OSError as error:
            raise ModelError(f"engine {path} cannot be read: {error}") from error
        try:
            said = json.loads(line) if magic == _MAGIC else {}
            length, digest = said["length"], said["sha256"]
            target, metadata = _texts(said["target"]), _texts(said["metadata"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{path} is not an engine of raf-sdk; build one with `raf-export`") from error
        if (length, digest) != (len(data), hashlib.sha256(data).hexdigest()):
            raise ModelError(f"engine {path} is truncated or damaged; build it again with `raf-export`")
        return cls(data, target, metadata)

    def write(self, path: Path) -> None:
        """Write the file under a temporary name beside ``path``, then rename it.

        Raises
        ------
        OSError
            If it cannot be written; nothing is then left behind.
        """
        said = {
            "length": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "target": self.target,
            "metadata": self.metadata,
        }
        temporary = path.with_name(path.name + ".tmp")
        try:
            with temporary.open("wb") as file:
                file.write(_MAGIC + json.dumps(said).encode() + b"\n")
                file.write(self.data)
                file.flush()
                # A crash of the machine must not leave the name with half of the content.
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _texts(values: dict[object, object]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}
