"""Samples as they are, with all that is computed of their surfaces computed anew.

Where a head ends and what its eigenvectors are is the runtime's business, and may change after a folder was built. The
same command that built it would draw other heads by then: code that draws them has changed as well.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from raf_runtime.surface import Surface
from raf_training.data.build import MANIFEST
from raf_training.data.describe import describe
from raf_training.errors import DataError

__all__ = ["renew"]


def renew(folder: Path, out: Path, processes: int) -> None:
    """Write what is in one folder of samples to another, cut at the neck and described by the present code.

    Samples that are in the other folder already stay: an interrupted run goes on.

    Raises
    ------
    DataError
        If the folder has no manifest or no samples, both are the same folder, or a sample cannot be read.
    """
    manifest, paths = folder / MANIFEST, sorted(folder.glob("*.safetensors"))
    if not manifest.is_file() or not paths:
        raise DataError(f"{folder} is no folder of samples; make one with `raf-data build --out {folder}`")
    if out.resolve() == folder.resolve():
        raise DataError(f"{out} is the folder to read from; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    temporary = out / f"{MANIFEST}.tmp"
    temporary.write_bytes(manifest.read_bytes())
    temporary.replace(out / MANIFEST)
    todo = [path for path in paths if not (out / path.name).is_file()]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) as pool:
        work = pool.map(partial(_renewed, out), todo, chunksize=4)
        for _ in tqdm(work, total=len(todo), desc="renewed", unit="sample"):
            pass


def _renewed(out: Path, path: Path) -> None:
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata()
            positions, faces, deltas, mask, eigenvalues = (
                file.get_tensor(name) for name in ("positions", "faces", "deltas", "mask", "eigenvalues")
            )
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is not a readable sample ({error}); delete it") from error
    # Seams were welded when it was drawn.
    size = len(positions)
    whole = Surface(
        positions.astype(np.float64), faces.astype(np.int64), np.arange(size), np.zeros(size, np.int64), 0
    ).part(np.ones(len(faces), dtype=bool))
    arrays = describe(whole, deltas, mask, len(eigenvalues))
    target = out / path.name
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    save_file(
        {name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata=about
    )
    temporary.replace(target)
