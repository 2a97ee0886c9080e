"""What a model file says of itself, and whether it keeps the contract.

Axis legend: P poses, K eigenpairs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from raf_runtime.contract import (
    CONTRACT_VERSION,
    INPUTS,
    META_EIGENPAIRS,
    META_POSED,
    META_POSES,
    META_PRECISION,
    META_VERSION,
    OUTPUT,
    POSE_INPUT,
    Precision,
)
from raf_runtime.errors import ModelError

__all__ = ["ModelFile"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that keeps the contract.

    Attributes
    ----------
    path : Path
        An ONNX file.
    metadata : dict of str
        Everything it says of itself.
    poses : tuple of str
        Names of the P poses, in the order of the output.
    eigenpairs : int
        K that it was trained with.
    posed : bool
        Whether a run gives one pose instead of all.
    precision : str
        What the graph computes in.
    """

    path: Path
    metadata: dict[str, str]
    poses: tuple[str, ...]
    eigenpairs: int
    posed: bool
    precision: Precision

    @classmethod
    def understand(
        cls, path: Path, metadata: dict[str, str], inputs: Sequence[str], outputs: Sequence[str]
    ) -> ModelFile:
        """Read the metadata and check it, and the names of the tensors, against the contract.

        Raises
        ------
        ModelError
            If the file has no such metadata, or follows another contract.
        """
        version = metadata.get(META_VERSION)
        if version != CONTRACT_VERSION:
            said = "has no raf-sdk metadata" if version is None else f"follows contract {version}"
            raise ModelError(
                f"{path} {said}; this raf-sdk reads contract {CONTRACT_VERSION}. Export it with `raf-export`"
            )
        posed, precision = metadata.get(META_POSED, "0"), metadata.get(META_PRECISION, "fp32")
        for key, value, known in (
            (META_POSED, posed, ("0", "1")),
            (META_PRECISION, precision, get_args(Precision)),
        ):
            if value not in known:
                raise ModelError(
                    f"{path} has damaged metadata ({key} is {value!r}); export it again with `raf-export`"
                )
        wanted = [*INPUTS, POSE_INPUT] if posed == "1" else list(INPUTS)
        if list(inputs) != wanted:
            raise ModelError(
                f"{path} takes {', '.join(inputs)} instead of {', '.join(wanted)}; export it again"
            )
        if list(outputs) != [OUTPUT]:
            raise ModelError(f"{path} gives {', '.join(outputs)} instead of {OUTPUT}; export it again")
        try:
            poses = json.loads(metadata[META_POSES])
            eigenpairs = int(metadata[META_EIGENPAIRS])
        except (KeyError, ValueError, RecursionError) as error:
            raise ModelError(
                f"{path} has damaged metadata ({error}); export it again with `raf-export`"
            ) from error
        if not (isinstance(poses, list) and poses and all(isinstance(name, str) for name in poses)):
            raise ModelError(f"{path} names no poses; export it again with `raf-export`")
        if not 1 <= eigenpairs <= 1024:
            raise ModelError(
                f"{path} asks for {eigenpairs} eigenpairs; 1 to 1024 make sense. Export it again"
            )
        return cls(path, metadata, tuple(poses), eigenpairs, posed == "1", cast(Precision, precision))
