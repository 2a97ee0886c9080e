"""Prepared heads on disk, so that nothing is computed again for a mesh that was seen before.

An entry is found by its content: the mesh, the number of eigenpairs, and the very code that prepares heads. It is a
cache, never an artefact: one that cannot be read is removed and made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import platformdirs
from scipy import sparse

from raf_runtime.head import PreparedHead, prepare_head
from raf_sdk.io._atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["HeadCache"]

_log = logging.getLogger("raf_sdk")
_KEY: Final = "key"
_SUFFIX: Final = ".head.npz"


class HeadCache:
    """A folder of prepared heads.

    Parameters
    ----------
    folder
        Made when it is first needed; the user's own cache folder by default.
    limit
        Bytes that the folder may hold; what has not been used for longest goes first.
    """

    def __init__(self, folder: Path | None = None, limit: int = 1 << 30) -> None:
        self._folder = Path(platformdirs.user_cache_dir("raf-sdk")) / "heads" if folder is None else folder
        self._limit = limit

    def prepare(
        self, vertices: NDArray[np.float32], faces: NDArray[np.int32], eigenpairs: int
    ) -> PreparedHead:
        """As :func:`raf_runtime.head.prepare_head`, which runs only for a mesh that is not here yet.

        A folder that cannot be written is no error: the head is prepared all the same.
        """
        key = _key(vertices, faces, eigenpairs)
        path = self._folder / f"{key}{_SUFFIX}"
        head = self._load(path, key)
        if head is None:
            head = prepare_head(vertices, faces, eigenpairs)
            try:
                self._store(path, key, head)
            except OSError as error:
                _log.info("prepared head not kept in %s: %s", self._folder, error)
        return head

    def _load(self, path: Path, key: str) -> PreparedHead | None:
        if not path.is_file():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                if archive[_KEY].item() != key:
                    raise ValueError("it is the entry of another mesh")
                head = _restored(PreparedHead, "head", archive)
            os.utime(path)
        except Exception as error:  # what a damaged or foreign archive raises has no common base
            _log.warning("prepared head %s cannot be read (%s); it is made anew", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return head

    def _store(self, path: Path, key: str, head: PreparedHead) -> None:
        arrays = dict(_flat(head, "head"))
        if sum(array.nbytes for array in arrays.values()) > self._limit:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            np.savez(file, allow_pickle=False, **{_KEY: np.array(key)}, **arrays)
        entries = [(entry, entry.stat()) for entry in self._folder.glob(f"*{_SUFFIX}")]
        total = sum(stat.st_size for _, stat in entries)
        for entry, stat in sorted(entries, key=lambda item: item[1].st_mtime_ns):
            if total <= self._limit:
                break
            entry.unlink(missing_ok=True)
            total -= stat.st_size


def _key(vertices: NDArray[np.float32], faces: NDArray[np.int32], eigenpairs: int) -> str:
    digest = hashlib.sha256(f"{_preparation()} {eigenpairs} {vertices.shape} {faces.shape}".encode())
    digest.update(np.ascontiguousarray(vertices, dtype="<f4").data)
    digest.update(np.ascontiguousarray(faces, dtype="<i4").data)
    return digest.hexdigest()


@cache
def _preparation() -> str:
    """Digest of everything but the mesh that a prepared head depends on: code, weights and libraries."""
    digest = hashlib.sha256()
    for package in ("raf-sdk", "numpy", "scipy"):
        digest.update(importlib.metadata.version(package).encode())
    for file in sorted(files("raf_runtime").iterdir(), key=lambda file: file.name):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _flat(value: Any, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Arrays that a value of dataclasses, lists, sparse and dense arrays and scalars is made of, with their names."""
    if value is None:
        yield name, np.empty(0)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _flat(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, list):
        yield name, np.array(len(value))
        for i, item in enumerate(value):
            yield from _flat(item, f"{name}.{i}")
    elif isinstance(value, sparse.csr_array):
        for part in ("shape", "data", "indices", "indptr"):
            yield f"{name}.{part}", np.asarray(getattr(value, part))
    else:
        yield name, np.asarray(value)


def _restored(kind: Any, name: str, arrays: typing.Mapping[str, NDArray[Any]]) -> Any:
    """The value of a type that :func:`_flat` took apart."""
    origin = typing.get_origin(kind)
    if origin is types.UnionType:
        # Only None has an array under the name of a dataclass itself.
        return None if name in arrays else _restored(typing.get_args(kind)[0], name, arrays)
    if isinstance(kind, type) and is_dataclass(kind):
        types_of = typing.get_type_hints(kind)
        parts = {
            field.name: _restored(types_of[field.name], f"{name}.{field.name}", arrays)
            for field in fields(kind)
        }
        return kind(**parts)
    if origin is list:
        (item,) = typing.get_args(kind)
        return [_restored(item, f"{name}.{i}", arrays) for i in range(int(arrays[name]))]
    if kind is sparse.csr_array:
        shape, *parts = (arrays[f"{name}.{part}"] for part in ("shape", "data", "indices", "indptr"))
        return sparse.csr_array(tuple(parts), shape=tuple(shape.tolist()))
    return arrays[name].item() if kind in (bool, int, float, str) else arrays[name]
