"""The low eigenpairs of a surface's Laplacian, by projection on local functions instead of an eigensolver.

After Nasikun, Brandt, Hildebrandt, "Fast Approximation of Laplace-Beltrami Eigenproblems" (2018): the Laplacian
is projected on a few hundred functions around farthest-point samples, and a dense problem of that size is solved.

Axis legend: S surface vertices, D local functions, K eigenpairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph

__all__ = ["spectral_basis"]

# Local functions per eigenpair: more come nearer to the exact basis, and the dense problem grows with their cube.
FUNCTIONS_PER_PAIR = 4
# Support radius in units of the radius of a sample's cell and its neighbours' cells.
SUPPORT = 2.2
# At most this share of the basis goes to components beyond the first, so that hair or teeth in hundreds of
# pieces do not crowd out the face; what is beyond shares one constant function.
COMPONENT_SHARE = 0.2
# Distances between samples are measured slightly askew: on a symmetric head the farthest point would else be one of
# two, and rounding would choose.
SKEW = np.array([[1.0, 0.03, 0.02], [0.0, 1.0, 0.01], [0.0, 0.0, 1.0]])
# Relative; large against the rounding of the products, small against the lowest eigenvalues.
RIDGE = 1e-11
# Size of the dense distance table that is alive at once: fits a cache, and bounds memory on scans.
TABLE_VALUES = 1_000_000


def spectral_basis(
    vertices: NDArray[np.float64],
    laplacian: sparse.csr_array,
    mass: NDArray[np.float64],
    component: NDArray[np.int64],
    eigenpairs: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Approximate the K lowest eigenpairs of ``laplacian @ x = lambda * mass * x``.

    Parameters
    ----------
    vertices : (S, 3) float64
        Positions.
    laplacian : (S, S) sparse
        Positive semidefinite, rows sum to zero.
    mass : (S,) float64
        Positive vertex areas.
    component : (S,) int64
        Connected components, numbered by falling area from 0.
    eigenpairs : int
        K. Surfaces too small to have K get their own number, padded with zero columns.

    Returns
    -------
    eigenvalues : (K,) float64
        Ascending, from 0, in units of inverse area; padding repeats the last one.
    eigenvectors : (S, K) float64
        Mass-orthonormal: ``phi.T @ diag(mass) @ phi`` is the identity, apart from the padding.
    """
    functions = _local_functions(vertices, laplacian, component, eigenpairs)
    stiffness = (functions.T @ (laplacian @ functions)).toarray()
    gram = (functions.T @ functions.multiply(mass[:, None]).tocsr()).toarray()
    count = min(eigenpairs, len(gram))
    # Coincident vertices can have the same function twice. What is then spanned by nothing is given a little mass, and
    # stiffness enough to come after everything else.
    mass_of, stiffness_of = np.diagonal(gram), np.diagonal(stiffness)
    beyond = 100 * float(np.median(stiffness_of / mass_of))
    values, coefficients = linalg.eigh(
        _symmetric(stiffness) + np.diag(RIDGE * beyond * mass_of),
        _symmetric(gram) + np.diag(RIDGE * mass_of),
        subset_by_index=(0, count - 1),
    )
    vectors = functions @ coefficients
    values = np.maximum(values, 0)
    if count < eigenpairs:
        vectors = np.pad(vectors, ((0, 0), (0, eigenpairs - count)))
        values = np.pad(values, (0, eigenpairs - count), mode="edge")
    return values, vectors


def _symmetric(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (matrix + matrix.T)


def _local_functions(
    vertices: NDArray[np.float64], laplacian: sparse.csr_array, component: NDArray[np.int64], eigenpairs: int
) -> sparse.csr_array:
    """Partition of unity (S, D): cubic bumps around samples, and one constant for the crumbs."""
    size = len(vertices)
    own = component < 1 + int(COMPONENT_SHARE * eigenpairs)
    budget = FUNCTIONS_PER_PAIR * eigenpairs
    if size <= budget:
        bumps = sparse.csr_array(sparse.diags_array(own.astype(float)))[:, np.flatnonzero(own)]
        return _with_crumbs(bumps, own)
    graph = _edge_graph(vertices, laplacian)
    samples = _farthest_points(vertices, component, np.flatnonzero(own), budget)
    nearest, _, source = csgraph.dijkstra(graph, indices=samples, min_only=True, return_predecessors=True)
    radii = SUPPORT * _cell_radii(graph, samples, nearest, source, own)
    rows, columns, weights = [], [], []
    # Neighbours in this order have similar radii, so that no search goes much further than it must.
    order = np.argsort(radii)
    step = max(1, TABLE_VALUES // size)
    for start in range(0, len(samples), step):
        batch = order[start : start + step]
        reach = float(radii[batch].max())
        table = csgraph.dijkstra(graph, indices=samples[batch], limit=reach).ravel()
        near = np.flatnonzero(table < reach)
        t = table[near] / radii[batch[near // size]]
        near, t = near[t < 1], t[t < 1]
        rows.append(near % size)
        columns.append(batch[near // size])
        # The floor keeps a vertex on the rim of its only support inside the partition of unity.
        weights.append(np.maximum(1 - t * t * (3 - 2 * t), 1e-6))
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    bumps = sparse.csr_array(sparse.coo_array(entries, shape=(size, len(samples))))
    total = bumps.sum(axis=1)
    scale = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    return _with_crumbs(sparse.csr_array(sparse.diags_array(scale) @ bumps), own)


def _cell_radii(
    graph: sparse.csr_array,
    samples: NDArray[np.int64],
    nearest: NDArray[np.float64],
    source: NDArray[np.int64],
    own: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Radius (D,) that covers the cell of each sample and reaches as far as the cells around it do.

    One radius for all would be that of the deepest mouth cavity, and bury small parts under overlapping bumps.
    """
    cell = np.zeros(len(source), dtype=np.int64)
    order = np.argsort(samples)
    cell[own] = order[np.searchsorted(samples[order], source[own])]
    radius = np.zeros(len(samples))
    np.maximum.at(radius, cell[own], nearest[own])
    row, column = graph.nonzero()
    crossing = own[row] & (cell[row] != cell[column])
    around = radius.copy()
    np.maximum.at(around, cell[row[crossing]], radius[cell[column[crossing]]])
    return np.maximum(around, np.finfo(np.float32).tiny)


def _with_crumbs(bumps: sparse.csr_array, own: NDArray[np.bool_]) -> sparse.csr_array:
    if own.all():
        return bumps
    return sparse.csr_array(sparse.hstack([bumps, sparse.csr_array((~own).astype(float)[:, None])]))


def _edge_graph(vertices: NDArray[np.float64], laplacian: sparse.csr_array) -> sparse.csr_array:
    pattern = laplacian.tocoo()
    row, column = pattern.coords
    off = row != column
    row, column = row[off], column[off]
    length = np.linalg.norm(vertices[row] - vertices[column], axis=1)
    # A stored zero is no edge to csgraph; coincident neighbours are an edge of almost no length.
    length = np.maximum(length, np.finfo(np.float32).tiny)
    return sparse.csr_array(sparse.coo_array((length, (row, column)), shape=laplacian.shape))


def _farthest_points(
    vertices: NDArray[np.float64], component: NDArray[np.int64], candidates: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Farthest-point samples among the candidates, at least one in each of their components."""
    points = (vertices[candidates] @ SKEW).astype(np.float32)
    points -= points.mean(axis=0)
    square = np.einsum("ij,ij->i", points, points)
    # Each component starts from its lowest point, wherever that stands in the file.
    order = np.lexsort((points[:, 1], component[candidates]))
    _, first = np.unique(component[candidates][order], return_index=True)
    chosen = [int(i) for i in order[first[:count]]]
    distance = np.full(len(points), np.inf, dtype=np.float32)
    current = 0
    while True:
        i = chosen[current]
        np.minimum(distance, square - points @ (2 * points[i]) + square[i], out=distance)
        # Rounding leaves a sample at some distance from itself, further than coincident vertices are from theirs.
        distance[i] = -np.inf
        current += 1
        if current == len(chosen):
            if current == count:
                return candidates[np.array(chosen)]
            chosen.append(int(np.argmax(distance)))
