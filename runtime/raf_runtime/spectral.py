"""The low eigenpairs of a surface's Laplacian, by projection on local functions instead of an eigensolver.

After Nasikun, Brandt, Hildebrandt, "Fast Approximation of Laplace-Beltrami Eigenproblems" (2018): the Laplacian
is projected on a few hundred functions around farthest-point samples, and a dense problem of that size is solved.

Axis legend: S surface vertices, D local functions, K eigenpairs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse import csgraph

__all__ = ["spectral_basis"]

# Local functions per eigenpair: more come nearer to the exact basis, and the dense problem grows with their cube.
FUNCTIONS_PER_PAIR = 4
# Support radius in units of the radius of a sample's cell and its neighbours' cells.
SUPPORT = 2.2
# Bumps are exp(-SHARPNESS t^2), lowered to reach zero at t = 1. Gradients of diffused functions come a tenth nearer to
# those by exact eigenvectors than with a cubic.
SHARPNESS = 4.0
# At most this share of the basis goes to components beyond the first, so that hair or teeth in hundreds of
# pieces do not crowd out the face; what is beyond shares one constant function.
COMPONENT_SHARE = 0.2
# Damped Jacobi steps that smooth the bumps, as in smoothed aggregation (Vanek, Mandel, Brezina 1996): distances along
# edges leave kinks of the size of an edge.
SMOOTHINGS, DAMPING = 2, 0.7
# Along the principal axes distances between samples are measured slightly askew: on a symmetric head the farthest
# point would else be one of two, and rounding would choose.
SKEW = np.array([[1.0, 0.03, 0.02], [0.0, 1.0, 0.01], [0.0, 0.0, 1.0]])
# Relative; large against the rounding of the products, small against the lowest eigenvalues.
RIDGE = 1e-11
# Size of each of the two dense distance tables that are alive at once: fits a cache, and bounds memory on scans.
TABLE_VALUES = 1_000_000


def spectral_basis(
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    laplacian: sparse.csr_array,
    mass: NDArray[np.float64],
    component: NDArray[np.int64],
    eigenpairs: int,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Approximate the K lowest eigenpairs of ``laplacian @ x = lambda * mass * x``.

    Parameters
    ----------
    vertices : (S, 3) float64
        Positions.
    normals : (S, 3) float64
        Unit normals.
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
    eigenvectors : (S, K) float32
        Mass-orthonormal: ``phi.T @ diag(mass) @ phi`` is the identity, apart from the padding.
    """
    bumps = _local_functions(vertices, normals, laplacian, mass, component, eigenpairs)
    functions = sparse.csr_array(bumps.T)
    with ThreadPoolExecutor(1) as pool:
        weighted = sparse.csr_array((bumps.data * mass.take(bumps.indices), bumps.indices, bumps.indptr))
        product = pool.submit(weighted.__matmul__, functions)
        stiffness = sparse.csr_array(bumps @ sparse.csr_array(laplacian @ functions)).toarray()
        gram = sparse.csr_array(product.result()).toarray()
    count = min(eigenpairs, len(gram))
    # Coincident vertices can have the same function twice. What is then spanned by nothing is given a little mass, and
    # stiffness enough to come after everything else.
    mass_of, stiffness_of = np.diagonal(gram).copy(), np.diagonal(stiffness).copy()
    beyond = 100 * float(np.median(stiffness_of / mass_of))
    np.fill_diagonal(gram, mass_of + RIDGE * mass_of)
    np.fill_diagonal(stiffness, stiffness_of + RIDGE * beyond * mass_of)
    values, coefficients = _lowest_pairs(stiffness, gram, count)
    vectors = functions.astype(np.float32) @ coefficients.astype(np.float32)
    values = np.maximum(values, 0)
    if count < eigenpairs:
        vectors = np.pad(vectors, ((0, 0), (0, eigenpairs - count)))
        values = np.pad(values, (0, eigenpairs - count), mode="edge")
    return values, vectors


def _lowest_pairs(
    stiffness: NDArray[np.float64], gram: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ``count`` lowest pairs of two symmetric matrices, of which the lower triangle is read.

    :func:`scipy.linalg.eigh` bisects for some of the pairs, or transforms back all of them. Neither is needed. Between
    the products with the Cholesky factor, which near-coincident functions may make large, single precision is enough.
    """
    names = ("sytrd", "sytrd_lwork", "ormqr")
    (sygst,) = linalg.get_lapack_funcs(("sygst",), (gram,))
    sytrd, sytrd_lwork, ormqr = linalg.get_lapack_funcs(names, dtype=np.float32)
    factor = linalg.cholesky(gram, lower=True)
    reduced, _ = sygst(stiffness, factor, lower=1)
    work, _ = sytrd_lwork(len(gram), lower=1)
    reflectors, diagonal, beside, scale, _ = sytrd(reduced.astype(np.float32), lower=1, lwork=int(work))
    values, vectors = linalg.eigh_tridiagonal(diagonal, beside)
    vectors = np.asfortranarray(vectors[:, :count])
    # The reflectors leave the first row alone.
    vectors[1:], *_ = ormqr("L", "N", reflectors[1:, :-1], scale, vectors[1:], int(work))
    vectors = linalg.solve_triangular(factor, vectors, lower=True, trans=1)
    return values[:count].astype(np.float64), vectors


def _smoothed(bumps: sparse.csr_array, laplacian: sparse.csr_array) -> sparse.csr_array:
    """Smooth functions (D, S)."""
    diagonal = np.maximum(laplacian.diagonal(), np.finfo(float).tiny)
    step = sparse.csr_array(
        sparse.eye_array(len(diagonal)) - laplacian @ sparse.diags_array(DAMPING / diagonal)
    )

    def smooth(some: sparse.csr_array) -> sparse.csr_array:
        for _ in range(SMOOTHINGS):
            some = sparse.csr_array(some @ step)
        return some

    half = len(bumps.indptr) // 2
    with ThreadPoolExecutor(2) as pool:
        return sparse.csr_array(sparse.vstack(list(pool.map(smooth, (bumps[:half], bumps[half:])))))


def _local_functions(
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    laplacian: sparse.csr_array,
    mass: NDArray[np.float64],
    component: NDArray[np.int64],
    eigenpairs: int,
) -> sparse.csr_array:
    """Partition of unity (D, S): bumps around samples, and one constant for the crumbs."""
    size = len(vertices)
    own = component < 1 + int(COMPONENT_SHARE * eigenpairs)
    budget = FUNCTIONS_PER_PAIR * eigenpairs
    if size <= budget:
        vertex = np.flatnonzero(own)
        weight, counts = np.ones(len(vertex)), np.ones(len(vertex), dtype=np.int64)
    else:
        graph = _edge_graph(vertices, laplacian)
        # Opposite normals are as far apart as a sample's share of the surface is wide: both sides of lips, lids and
        # cheeks get samples, however thin they are.
        width = np.sqrt(mass.sum() / budget)
        points = np.hstack([_askew(vertices, mass), width / 2 * normals])
        samples = _farthest_points(points, component, np.flatnonzero(own), budget)
        vertex, weight, counts = _bumps(graph, samples, own)
    crumbs = np.flatnonzero(~own)
    if len(crumbs):
        vertex, weight = np.concatenate([vertex, crumbs]), np.concatenate([weight, np.ones(len(crumbs))])
        counts = np.append(counts, len(crumbs))
    bumps = sparse.csr_array(
        (weight, vertex, np.concatenate([[0], np.cumsum(counts)])), shape=(len(counts), size)
    )
    # Where every vertex has a function of its own, nothing is lost yet, and smoothing would lose something.
    return bumps if size <= budget else _smoothed(bumps, laplacian)


def _bumps(
    graph: sparse.csr_array, samples: NDArray[np.int64], own: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and weights of one bump after the other, normalised, and how many vertices each has."""
    size = len(own)
    nearest, _, source = csgraph.dijkstra(graph, indices=samples, min_only=True, return_predecessors=True)
    radii = SUPPORT * _cell_radii(graph, samples, nearest, source, own)
    # Neighbours in this order have similar radii, so that no search goes much further than it must.
    order = np.argsort(radii)
    samples, radii = samples[order], radii[order]
    step = max(1, TABLE_VALUES // size)

    def some(start: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        radius = radii[start : start + step]
        table = csgraph.dijkstra(graph, indices=samples[start : start + step], limit=radius[-1]).ravel()
        near = np.flatnonzero(table < radius[-1])
        bump = near // size
        t = table.take(near) / radius.take(bump)
        inside = t < 1
        near, bump, t = near[inside], bump[inside], t[inside]
        # The floor keeps a vertex on the rim of its only support inside the partition of unity.
        weight = np.maximum(np.exp(-SHARPNESS * t * t) - np.exp(-SHARPNESS), 1e-6)
        return near - bump * size, weight, np.bincount(bump, minlength=len(radius))

    # SciPy's search lets other threads run.
    with ThreadPoolExecutor(2) as pool:
        vertices, weights, counts = zip(*pool.map(some, range(0, len(samples), step)), strict=True)
    vertex, weight = np.concatenate(vertices), np.concatenate(weights)
    weight /= np.bincount(vertex, weight).take(vertex)
    return vertex, weight, np.concatenate(counts)


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
    cell[samples] = np.arange(len(samples))
    cell[own] = cell.take(source[own])
    radius = np.zeros(len(samples))
    np.maximum.at(radius, cell[own], nearest[own])
    row, column = np.repeat(cell, np.diff(graph.indptr)), cell.take(graph.indices)
    crossing = np.flatnonzero(row != column)
    crossing = crossing[own.take(graph.indices[crossing])]
    around = radius.copy()
    np.maximum.at(around, row[crossing], radius.take(column[crossing]))
    return np.maximum(around, np.finfo(np.float32).tiny)


def _askew(vertices: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn vertices (S, 3) to their principal axes, however the surface was turned before, and skew them a little.

    The two axes along which the surface reaches furthest to one side point there, the third makes a right-handed
    frame: a head's mirror image is not the head.
    """
    share = mass / mass.sum()
    centred = vertices - share @ vertices
    _, axes = np.linalg.eigh((share[:, None] * centred).T @ centred)
    along = centred @ axes
    lean = share @ along**3 / np.maximum(share @ along**2, np.finfo(float).tiny) ** 1.5
    sign = np.where(lean < 0, -1.0, 1.0)
    if np.linalg.det(axes) * sign.prod() < 0:
        sign[np.abs(lean).argmin()] *= -1
    return along * sign @ SKEW


def _edge_graph(vertices: NDArray[np.float64], laplacian: sparse.csr_array) -> sparse.csr_array:
    """Lengths of the Laplacian's edges; its diagonal becomes loops, which no shortest path takes."""
    along = np.repeat(vertices, np.diff(laplacian.indptr), axis=0) - vertices.take(laplacian.indices, axis=0)
    # A stored zero is no edge to csgraph; coincident neighbours are an edge of almost no length.
    length = np.maximum(np.sqrt(np.einsum("ij,ij->i", along, along)), np.finfo(np.float32).tiny)
    return sparse.csr_array((length, laplacian.indices, laplacian.indptr), shape=laplacian.shape)


def _farthest_points(
    points: NDArray[np.float64], component: NDArray[np.int64], candidates: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Farthest-point samples among the candidates (points (S, 6)), at least one in each of their components."""
    rows = np.ascontiguousarray(points[candidates].T, dtype=np.float32)
    # |x|^2 - 2 x.p + |p|^2 of all x is one product with (-2 p, 1, |p|^2), and few calls in the loop.
    squares = np.einsum("is,is->s", rows, rows)
    table = np.vstack([rows, squares, np.ones_like(squares)])
    # Each component starts from its end along the longest axis, wherever that stands in the file.
    order = np.lexsort((rows[2], component[candidates]))
    _, first = np.unique(component[candidates][order], return_index=True)
    chosen = order[first[:count]].tolist()
    seen = np.vstack([-2 * rows, np.ones_like(squares), squares]).T.copy()
    further = np.empty_like(squares)
    distance = np.full(len(candidates), np.inf, dtype=np.float32)
    for current in range(count):
        if current == len(chosen):
            chosen.append(int(distance.argmax()))
        i = chosen[current]
        np.minimum(distance, np.dot(seen[i], table, out=further), out=distance)
        # Coincident vertices are as near to it as it is to itself, and may become samples; it may not again.
        distance[i] = -np.inf
    return candidates[np.array(chosen)]
