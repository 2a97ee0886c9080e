"""Engines that were built on this machine, kept so that the next start is quick.

An engine fits one model, one version of TensorRT and one kind of GPU only. It is a cache, never an artefact: what is
damaged, or does not say that it is what was asked for, is built anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError

__all__ = ["cache_folder", "cached_engine"]

_log = logging.getLogger("raf_runtime")
_Loaded = TypeVar("_Loaded")
# Builds take seconds to minutes. Whoever takes longer is stuck.
PATIENCE: Final = 900.0  # seconds


def cache_folder() -> Path:
    """Where engines are kept."""
    return Path(user_cache_dir("raf-sdk")) / "engines"


def cached_engine(
    target: dict[str, str],
    build: Callable[[], EngineFile],
    load: Callable[[EngineFile], _Loaded],
    folder: Path | None = None,
) -> _Loaded:
    """Load an engine from the cache, where it is built first if need be.

    Of several processes that want the same engine one builds it and the others wait. Where the cache cannot be
    written, the engine is built for this process alone.

    Parameters
    ----------
    target : dict of str
        Everything that the engine depends on.
    build : callable
        Makes the engine; its result says the same ``target``.
    load : callable
        Makes the engine ready; raises :class:`ModelError` where it cannot be used.
    folder : Path, optional
        In place of :func:`cache_folder`.

    Raises
    ------
    DeviceError
        If another process has been building this engine for 15 minutes.
    """
    folder = folder or cache_folder()
    path = folder / f"{hashlib.sha256(json.dumps(target, sort_keys=True).encode()).hexdigest()[:32]}.engine"
    lock = FileLock(path.with_suffix(".lock"), timeout=PATIENCE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The system ends a lock with its process: one that is killed while building leaves none behind.
        lock.acquire()
    except Timeout as error:
        raise DeviceError(
            f"another process has held {error.lock_file} for {PATIENCE / 60:.0f} minutes; end it and try again"
        ) from error
    except OSError as error:
        _log.warning(
            "engines cannot be kept in %s (%s); this one is built for this process alone", folder, error
        )
        return load(build())
    try:
        kept = _kept(path, target, load)
        return _built(path, build, load) if kept is None else kept
    finally:
        lock.release()


def _kept(path: Path, target: dict[str, str], load: Callable[[EngineFile], _Loaded]) -> _Loaded | None:
    try:
        engine = EngineFile.read(path)
        if engine.target != target:
            raise ModelError(f"engine {path} was built for something else")
        return load(engine)
    except ModelFileNotFoundError:
        return None
    except ModelError as error:
        _log.warning("%s; it is built anew", error)
        return None


def _built(path: Path, build: Callable[[], EngineFile], load: Callable[[EngineFile], _Loaded]) -> _Loaded:
    engine = build()
    loaded = load(engine)
    try:
        engine.write(path)
    except OSError as error:
        _log.warning("engine %s cannot be kept: %s", path, error)
    return loaded
