"""Sculpt the example head of the package: a quad mesh laid over a signed distance, written as OBJ.

    python tools/sculpt_example_head.py [-o raf_sdk/data/example_head.obj]

Half the head is built, then mirrored. Its skin is a grid of rows (crown to neck) and columns (face to nape)
that is cut open at the mouth and at the eye; the rims of the cuts continue inwards, as lips into a mouth bag
and as lids into a socket. A patch of the grid is drawn out into an ear.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import _head_shape as shape
import numpy as np
from _head_mesh import Face, HalfHead, Indices, strip
from _head_parts import Ear, add_mouth_bag, add_socket, build_eye, build_teeth
from _head_shape import Array
from scipy import sparse
from scipy.sparse.linalg import spsolve

# Rows of the skin: rays leave (0, y, z) with an elevation in degrees. The first number is how many steps lead
# from the entry before.
_ROWS = [
    (0, 6.2, 1.2, 90.0),
    (11, 6.2, 1.6, 0.0),
    (8, 3.6, 2.0, 0.0),  # eye
    (5, 2.0, 2.0, 0.0),
    (9, -1.3, 2.0, 0.0),  # under the nose
    (3, -2.3, 2.0, 0.0),
    (5, -3.5, 2.0, 0.0),  # mouth
    (5, -4.8, 2.0, 0.0),
    (6, -6.6, 0.0, -10.0),  # chin
    (4, -7.2, -2.0, -19.0),
    (5, -14.0, -2.4, 0.0),
]
_EYE_ROW, _MOUTH_ROW = 19, 41
# Columns of the skin: azimuth in degrees, 0 in the middle of the face; counted like the rows.
_COLUMNS = [(0, 0.0), (8, 12.8), (3, 18.5), (9, 33.7), (2, 40.0), (7, 90.0), (5, 118.0), (5, 180.0)]
_MOUTH_CORNER, _EYE_CORNERS = 11, (8, 20)
_EAR_ROWS, _EAR_COLUMNS = (14, 33), (29, 34)

# Eye: corners (x, y) and how far the lids are open.
_INNER_CORNER, _OUTER_CORNER = (1.85, 3.42), (4.5, 3.62)
_UPPER_LID, _LOWER_LID = 0.56, 0.42


def steps(table: Sequence[tuple[float, ...]]) -> Array:
    """Evenly fill a table whose first column says how many steps lead to each entry."""
    index = np.cumsum([entry[0] for entry in table])
    values = np.array([entry[1:] for entry in table])
    every = np.arange(index[-1] + 1)
    return np.stack([np.interp(every, index, column) for column in values.T], axis=1)


def sculpt() -> tuple[Array, list[tuple[str, list[Face]]]]:
    """Build the whole head: vertices (V, 3) in cm and the faces of each part."""
    head = HalfHead()
    build_skin(head)
    build_eye(head)
    build_teeth(head, "teeth_upper", shape.MOUTH_HEIGHT + 0.06, 1.25, 9.95)
    build_teeth(head, "teeth_lower", shape.MOUTH_HEIGHT - 0.06, -1.25, 9.75)
    return head.mirrored()


def build_skin(head: HalfHead) -> None:
    """Lay the grid on the shape, cut and warp it, relax it, and add ear, mouth bag and socket."""
    rows, azimuths = steps(_ROWS), steps(_COLUMNS)[:, 0]
    last = len(azimuths) - 1
    grid = np.arange(1, 1 + (len(rows) - 1) * (last + 1)).reshape(len(rows) - 1, last + 1)
    grid = np.vstack([np.zeros((1, last + 1), int), grid])  # the crown is one vertex
    below = grid.copy()  # what the faces under a row use: other vertices along a cut
    inner, outer = _EYE_CORNERS
    count = grid.max() + 1
    below[_MOUTH_ROW, :_MOUTH_CORNER] = count + np.arange(_MOUTH_CORNER)
    below[_EYE_ROW, inner + 1 : outer] = count + _MOUTH_CORNER + np.arange(outer - inner - 1)

    skin: list[Face] = []
    ear_top, ear_bottom = _EAR_ROWS
    ear_front, ear_back = _EAR_COLUMNS
    for j in range(len(rows) - 1):
        row = strip(below[j], grid[j + 1])
        skin += row if not ear_top <= j < ear_bottom else row[:ear_front] + row[ear_back:]

    # Where each vertex starts from: origin height, azimuth; and its row.
    total = int(below.max()) + 1
    row_of, azimuth = np.zeros(total, int), np.zeros(total)
    for table in (grid, below):
        row_of[table] = np.arange(len(rows))[:, None]
        azimuth[table] = azimuths
    azimuth[0] = 0
    height = rows[row_of, 0]

    # Pull the rims of the eye to the lids; the grid around follows.
    upper_lid, lower_lid = lid_curves(outer - inner)
    upper_rim, lower_rim = grid[_EYE_ROW, inner : outer + 1], below[_EYE_ROW, inner : outer + 1]
    links = neighbours(skin, total)
    pulled = np.concatenate([upper_rim, lower_rim[1:-1]])
    lids = np.concatenate([upper_lid, lower_lid[1:-1]])
    target_azimuth = np.degrees(np.arctan2(lids[:, 0], lids[:, 2] - rows[_EYE_ROW, 1]))
    fixed = np.unique(
        np.concatenate([grid[:, 0], grid[:, -1], grid[-1], grid[_MOUTH_ROW, :16], below[_MOUTH_ROW, :12]])
    )
    azimuth += follow(links, pulled, target_azimuth - azimuth[pulled], fixed)
    height += follow(links, pulled, lids[:, 1] - height[pulled], fixed)

    elevation, turn = np.radians(rows[row_of, 2]), np.radians(azimuth)
    directions = np.stack(
        [np.cos(elevation) * np.sin(turn), np.sin(elevation), np.cos(elevation) * np.cos(turn)], axis=1
    )
    origins = np.stack([np.zeros(total), height, rows[row_of, 1]], axis=1)
    points = shape.project(shape.cast(origins, directions))
    middle = np.concatenate([grid[:, 0], grid[:, -1], below[_MOUTH_ROW, :1]])
    points[middle, 0] = 0
    points[upper_rim], points[lower_rim] = upper_lid, lower_lid

    # The lips meet in the crease between two rolls: open it by a hair.
    upper_lip, lower_lip = grid[_MOUTH_ROW, : _MOUTH_CORNER + 1], below[_MOUTH_ROW, : _MOUTH_CORNER + 1]
    slit = points[upper_lip].copy()
    slit[:, 1] = shape.MOUTH_HEIGHT
    across = slit[:, 0] / slit[-1, 0]
    gap = 0.035 * np.sqrt(1 - across**2)
    points[upper_lip], points[lower_lip] = slit + gap[:, None] * [0, 1, 0], slit - gap[:, None] * [0, 1, 0]

    ear = Ear(grid[ear_top : ear_bottom + 1, ear_front : ear_back + 1])
    points[ear.border] = ear.root()

    still = np.concatenate([pulled, upper_lip, lower_lip, ear.border, grid[-1]])
    points = relax(points, links, still, middle)
    head.add(points)  # the first of the head, so that the grid's numbers hold
    head.parts["skin"] = skin
    add_mouth_bag(head, upper_lip, lower_lip, across)
    add_socket(head, upper_rim, lower_rim)
    ear.add_to(head)


def lid_curves(segments: int) -> tuple[Array, Array]:
    """Rims of the upper and the lower lid from the inner to the outer corner, (segments + 1, 3) each."""
    t = (1 - np.cos(np.pi * np.linspace(0, 1, segments + 1))) / 2 * 0.45 + 0.55 * np.linspace(
        0, 1, segments + 1
    )
    base = np.outer(1 - t, _INNER_CORNER) + np.outer(t, _OUTER_CORNER)
    curves: list[Array] = []
    for arch in (_UPPER_LID * np.sin(np.pi * t**0.85) ** 0.8, -_LOWER_LID * np.sin(np.pi * t**1.15) ** 0.9):
        start = np.column_stack([base[:, 0], base[:, 1] + arch, np.zeros(len(t))])
        curves.append(shape.cast(start, np.tile([0.0, 0.0, 1.0], (len(t), 1))))
    return curves[0], curves[1]


def neighbours(faces: Sequence[Face], count: int) -> sparse.csr_array:
    """Edges of the faces as a symmetric 0/1 matrix (count, count)."""
    pairs = {(a, b) for face in faces for a, b in zip(face, (*face[1:], face[0]), strict=True)}
    a, b = np.array(sorted(pairs | {(b, a) for a, b in pairs})).T
    return sparse.csr_array((np.ones(len(a)), (a, b)), shape=(count, count))


def follow(links: sparse.csr_array, pulled: Indices, pull: Array, fixed: Indices) -> Array:
    """Spread a displacement (N,) of some vertices smoothly over the others; it fades out with distance."""
    degree = links.sum(axis=1)
    field = np.zeros(len(degree))
    field[pulled] = pull
    known = np.zeros(len(degree), bool)
    known[pulled] = known[fixed] = True
    laplacian = sparse.csr_array(sparse.diags_array(degree + 0.03) - links)
    free = np.flatnonzero(~known)
    known = np.flatnonzero(known)
    rows = laplacian[free]
    field[free] = np.asarray(spsolve(rows[:, free].tocsc(), -(rows[:, known] @ field[known])))
    return field


def relax(points: Array, links: sparse.csr_array, still: Indices, middle: Indices) -> Array:
    """Even out the grid along the surface, where rays graze it."""
    degree = np.maximum(links.sum(axis=1)[:, None], 1)  # the patch of the ear has no faces yet
    moving = np.ones(len(points), bool)
    moving[still] = False
    for _ in range(12):
        moved = points + 0.5 * ((links @ points) / degree - points)
        moved[middle, 0] = 0
        moved = shape.project(moved, rounds=2)
        points = np.where(moving[:, None], moved, points)
    return points


def cylinder_uvs(vertices: Array, faces: Sequence[Face]) -> tuple[Array, list[list[int]]]:
    """Cylindrical coordinates (U, 2), the seam at the back of the head, and their index for every corner."""
    depth = vertices[:, 2] - vertices[0, 2]  # the axis goes through the crown, where the columns meet
    across = 0.5 + np.arctan2(vertices[:, 0], depth) / (2 * np.pi)
    up = (vertices[:, 1] - vertices[:, 1].min()) / np.ptp(vertices[:, 1])
    known: dict[tuple[int, bool], int] = {}
    uvs: list[tuple[float, float]] = []
    indices: list[list[int]] = []
    for face in faces:
        wraps = np.ptp(across[list(face)]) > 0.5
        corners: list[int] = []
        for vertex in face:
            key = (vertex, bool(wraps and across[vertex] < 0.5))
            if key not in known:
                known[key] = len(uvs)
                uvs.append((float(across[vertex]) + key[1], float(up[vertex])))
            corners.append(known[key])
        indices.append(corners)
    return np.array(uvs), indices


def write_obj(path: Path, vertices: Array, parts: Sequence[tuple[str, list[Face]]]) -> None:
    """Write the head; four decimals are a micrometre."""
    faces = [face for _, part in parts for face in part]
    uvs, corners = cylinder_uvs(vertices, faces)
    lines = [
        "# raf-sdk example head, sculpted by tools/sculpt_example_head.py (Apache-2.0); cm, Y up, +Z front"
    ]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in vertices + 0.0]
    lines += [f"vt {u:.5f} {v:.5f}" for u, v in uvs]
    every = iter(corners)
    for name, part in parts:
        lines.append(f"g {name}")
        for face in part:
            pairs = zip(face, next(every), strict=True)
            lines.append("f " + " ".join(f"{vertex + 1}/{uv + 1}" for vertex, uv in pairs))
    path.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def main() -> None:
    """Write the example head."""
    parser = argparse.ArgumentParser(description="Sculpt the example head of raf-sdk.")
    default = Path(__file__).parents[1] / "raf_sdk" / "data" / "example_head.obj"
    parser.add_argument("-o", "--output", type=Path, default=default)
    output: Path = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    vertices, parts = sculpt()
    write_obj(output, vertices, parts)


if __name__ == "__main__":
    main()
