"""A rig with a stopwatch between its steps."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

import raf_sdk
from raf_runtime.coarse import Coarse
from raf_runtime.frame import estimate_frame
from raf_runtime.head import LARGE, PreparedHead, find_pieces, in_own_unit, outwards
from raf_runtime.intrinsic import laplacian_and_mass
from raf_runtime.operators import Operators, Spectrum, TangentGradient, vertex_normals
from raf_runtime.session import Session
from raf_runtime.spectral import spectral_basis
from raf_runtime.surface import Surface
from raf_runtime.threads import blas_on_one_thread
from raf_sdk.io import read_mesh

__all__ = ["NETWORK", "WHOLE", "Times", "measure_warm"]

Times = dict[str, list[float]]

WHOLE, NETWORK = "rigger.rig(path)", "network"


class Stopwatch:
    """Collects the seconds of named stages."""

    def __init__(self) -> None:
        self.times: Times = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.times[name].append(time.perf_counter() - start)


@blas_on_one_thread()
def rig_in_stages(watch: Stopwatch, session: Session, path: Path) -> raf_sdk.Rig:
    """What ``Rigger.rig`` does (see :mod:`raf_runtime.head`), one step after the other: some of them overlap there."""
    with watch.stage("read file"):
        mesh = read_mesh(path)
    with watch.stage("weld"):
        surface = Surface.build(mesh.vertices, mesh.faces)
    with watch.stage("canonical frame"):
        frame = estimate_frame(surface.vertices, surface.faces, component=surface.component)
        points = frame.to_canonical(surface.vertices)
        triangles, component, coarse = outwards(points, surface.faces), surface.component, None
    if len(points) > LARGE:
        with watch.stage("coarser stand-in"):
            coarse = Coarse.build(points, triangles, component, LARGE // 2)
            points, triangles, component = coarse.vertices, coarse.faces, coarse.component
    with watch.stage("Laplacian"):
        own, unit = (points, frame.unit) if coarse else in_own_unit(surface.vertices)
        laplacian, mass = laplacian_and_mass(own, triangles)
    with watch.stage("spectral basis"):
        normals = vertex_normals(own, triangles)
        pairs = spectral_basis(own, normals, laplacian, mass, component, session.eigenpairs)
        spectrum = Spectrum(mass, *pairs).measured_in(frame.unit / unit)
    with watch.stage("gradients"):
        operators = Operators.join(points, TangentGradient.build(points, triangles), spectrum)
    with watch.stage("parts, symmetry"):
        head = PreparedHead(surface, frame, operators, coarse, *find_pieces(surface, frame))
    with watch.stage(NETWORK):
        displacements = session.run(operators)
    with watch.stage("finish"):
        return raf_sdk.Rig(mesh, session.poses, head.finish(displacements, session.poses))


def measure_warm(model: Path, path: Path, repeats: int) -> Times:
    """Seconds of the stages and of the whole, each time on the file.

    Without the cache of prepared heads; it has a row of its own, and only the network and the finish are left.
    """
    rigger, session = raf_sdk.Rigger(model), Session(model)
    expected = rigger.rig(path)
    staged = rig_in_stages(Stopwatch(), session, path)
    size = np.abs(expected.deltas).max()
    if not np.allclose(staged.deltas, expected.deltas, rtol=0, atol=1e-3 * size):
        sys.exit(
            "the stages of this benchmark are no longer those of Rigger.rig: bring rig_in_stages up to date"
        )
    prepared = rigger.prepare(expected.mesh)
    watch = Stopwatch()
    for _ in tqdm(range(repeats), desc=path.stem, unit="rig"):
        rig_in_stages(watch, session, path)
        with watch.stage(WHOLE):
            rigger.rig(path)
        with watch.stage("rigger.rig(prepared)"):
            rigger.rig(prepared)
    return watch.times
