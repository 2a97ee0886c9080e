"""The pipeline that ours is compared with: exact eigenvectors, and the paper's network once for every pose.

An eigenbasis by SciPy's shift-invert Lanczos as DiffusionNet's own code computes it (Sharp et al. 2022), and
RigAnyFace's network (Ma et al. 2025) as far as its size is known, in eager torch with random weights.
Reading, welding, canonical frame and what follows the network are not counted: that favours the reference.

Axis legend: S surface vertices, T triangles, K eigenpairs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh
from tqdm import tqdm

from raf_runtime.intrinsic import laplacian_and_mass
from raf_runtime.operators import tangent_gradient, vertex_normals
from raf_training.network import CONFIGS, RigNetwork, SurfaceTensors

__all__ = ["Reference", "measure_reference"]

# DiffusionNet's: it lifts the smallest eigenvalues off zero, so that the shifted matrix can be factored.
SHIFT = 1e-8


@dataclass(frozen=True, slots=True)
class Reference:
    """Seconds of each stage, how many passes a rig takes, and how many threads torch used."""

    laplacian: float
    eigenbasis: float
    gradients: float
    passes: tuple[float, ...]
    poses: int
    threads: int

    @property
    def total(self) -> float:
        """The whole rig; passes that were not run are counted with the median of those that were."""
        missing = self.poses - len(self.passes)
        network = sum(self.passes) + missing * float(np.median(self.passes))
        return self.laplacian + self.eigenbasis + self.gradients + network


def measure_reference(vertices: NDArray[np.float64], faces: NDArray[np.int64], passes: int) -> Reference:
    """Run the reference pipeline, with so many of the network's passes.

    Parameters
    ----------
    vertices : (S, 3) float64
        Welded surface, canonical.
    faces : (T, 3) int64
        Triangles.
    passes : int
        Measured after one that is not counted; at most one per pose.
    """
    config = CONFIGS["paper"]
    network = RigNetwork(config).eval()
    start = time.perf_counter()
    laplacian, mass = laplacian_and_mass(vertices, faces)
    after_laplacian = time.perf_counter()
    lifted = sparse.csc_array(laplacian + SHIFT * sparse.eye_array(len(vertices)))
    values, vectors = eigsh(lifted, k=config.eigenpairs, M=sparse.diags_array(mass).tocsc(), sigma=SHIFT)
    after_eigenbasis = time.perf_counter()
    normals = vertex_normals(vertices, faces)
    along_x, along_y = tangent_gradient(vertices, faces, normals)
    gradients = along_x @ vectors, along_y @ vectors
    arrays = (vertices, normals, mass, values, vectors, *gradients)
    surface = SurfaceTensors(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))
    after_gradients = time.perf_counter()
    poses = len(config.poses)
    seconds: list[float] = []
    with torch.inference_mode():
        network(surface, torch.eye(poses)[0])
        for pose in tqdm(torch.eye(poses)[:passes], desc="reference", unit="pose"):
            begin = time.perf_counter()
            network(surface, pose)
            seconds.append(time.perf_counter() - begin)
    return Reference(
        after_laplacian - start,
        after_eigenbasis - after_laplacian,
        after_gradients - after_eigenbasis,
        tuple(seconds),
        poses,
        torch.get_num_threads(),
    )
