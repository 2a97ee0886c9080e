"""The rasteriser and what is drawn from its fragments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from raf_training.errors import BackendError
from raf_training.rendering import boxes
from raf_training.rendering.cameras import FRONT, VIEWS, Camera
from raf_training.rendering.displacement import STILL, displacement_image
from raf_training.rendering.fragments import interpolate
from raf_training.rendering.masks import hard_mask, soft_mask
from raf_training.rendering.pytorch3d import PyTorch3DRasterizer, choose_rasterizer
from raf_training.rendering.rasterizer import TorchRasterizer
from raf_training.rendering.shading import depth_image, normal_image, shaded_image, vertex_normals

SIZE = (12, 16)


def ball(subdivisions: int = 2, radius: float = 2.0) -> tuple[Tensor, Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions, radius)
    return torch.tensor(np.array(mesh.vertices)), torch.tensor(np.array(mesh.faces), dtype=torch.int64)


def soup(seed: int, triangles: int = 8) -> tuple[Tensor, Tensor]:
    """Triangles that reach beyond the image and through one another, in screen coordinates."""
    points = torch.rand(3 * triangles, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scale = torch.tensor([1.4 * SIZE[1], 1.4 * SIZE[0], 4.0])
    return (points - 0.15) * scale + torch.tensor([0.0, 0.0, 3.0]), torch.arange(3 * triangles).view(-1, 3)


def naive_hits(
    points: Tensor, face: Tensor, row: int, column: int, blur: float, perspective: bool
) -> tuple[float, list[float], float] | None:
    """Depth, barycentrics and signed squared distance of one face at one pixel, by the textbook."""
    corners = points[face].numpy()
    pixel = np.array([column + 0.5, row + 0.5])
    matrix = np.vstack([corners[:, :2].T, np.ones(3)])
    flat = np.linalg.solve(matrix, [*pixel, 1.0])
    squares: list[float] = []
    for i in range(3):
        a, b = corners[i, :2], corners[(i + 1) % 3, :2]
        along = min(max(float((pixel - a) @ (b - a) / ((b - a) @ (b - a))), 0.0), 1.0)
        squares.append(float(((a + along * (b - a) - pixel) ** 2).sum()) * (2 / min(SIZE)) ** 2)
    inside = bool((flat >= 0).all())
    if not inside and min(squares) >= blur:
        return None
    weights = np.maximum(flat, 0)
    if perspective:
        weights = weights / corners[:, 2]
    weights = weights / weights.sum()
    return float(weights @ corners[:, 2]), weights.tolist(), -min(squares) if inside else min(squares)


@pytest.mark.parametrize("at_once", [1 << 18, 50])
@pytest.mark.parametrize(("blur", "perspective"), [(0.0, True), (0.0, False), (0.02, True)])
@pytest.mark.parametrize("count", [1, 4])
def test_fragments_are_what_a_loop_finds(
    count: int, blur: float, perspective: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "AT_ONCE", at_once)
    points, faces = soup(0)
    found = TorchRasterizer(count)(points, faces, SIZE, blur, perspective=perspective)
    for row in range(SIZE[0]):
        for column in range(SIZE[1]):
            hits = [naive_hits(points, face, row, column, blur, perspective) for face in faces]
            nearest = sorted((hit[0], index) for index, hit in enumerate(hits) if hit)[:count]
            expected = [index for _, index in nearest]
            assert found.faces[row, column].tolist() == expected + [-1] * (count - len(expected))
            for k, index in enumerate(expected):
                hit = hits[index]
                assert hit is not None
                assert float(found.depth[row, column, k]) == pytest.approx(hit[0], rel=1e-9)
                assert found.barycentrics[row, column, k].tolist() == pytest.approx(hit[1], abs=1e-9)
                assert float(found.distances[row, column, k]) == pytest.approx(hit[2], abs=1e-9)


@pytest.mark.parametrize("step", [1.0, 0.5, 1.3])
def test_surfaces_have_no_holes_along_their_edges(step: float) -> None:
    # With the first steps, pixel centres lie exactly on edges and vertices.
    grid = torch.arange(0.5, 31.0, step)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    points = torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), 5.0)], 1)
    cell = torch.arange(x.numel()).view(x.shape)
    a, b, c, d = (corner.flatten() for corner in (cell[:-1, :-1], cell[:-1, 1:], cell[1:, :-1], cell[1:, 1:]))
    faces = torch.cat([torch.stack([a, b, d], 1), torch.stack([d, c, a], 1)])
    covered = TorchRasterizer()(points, faces, (29, 29)).covered
    assert covered.all()


def test_what_cannot_be_drawn_is_left_out() -> None:
    points, faces = soup(1, 5)
    points[0, 2] = -1.0  # behind the camera
    points[3, 0] = torch.nan
    points[6, 1] = torch.inf
    points[9:12] = points[9]  # no area
    seen = TorchRasterizer()(points, faces, SIZE).faces
    assert set(seen.unique().tolist()) == {-1, 4}
    assert (TorchRasterizer()(points, faces[:0], SIZE).faces == -1).all()


@pytest.mark.parametrize("perspective", [True, False])
def test_interpolation_gives_back_the_points_that_are_seen(perspective: bool) -> None:
    camera = replace(VIEWS["left"], perspective=perspective)
    vertices, faces = ball()
    screen = camera.project(vertices, SIZE)
    fragments = TorchRasterizer()(screen, faces, SIZE, perspective=perspective)
    points = interpolate(fragments, faces, vertices)[:, :, 0]
    row, column = fragments.covered.nonzero(as_tuple=True)
    again = camera.project(points[row, column], SIZE)
    torch.testing.assert_close(again[:, :2], torch.stack([column, row], 1) + 0.5, check_dtype=False)
    torch.testing.assert_close(again[:, 2], fragments.depth[row, column, 0])


def test_the_front_camera_sees_the_character_left_on_the_right() -> None:
    points = torch.tensor([[0.0, 0.1, 0.0], [1.0, 0.1, 0.0], [0.0, 1.1, 0.0], [0.0, 0.1, 1.0]])
    centre, left, up, front = FRONT.project(points, (64, 64))
    assert centre.tolist() == pytest.approx([32.0, 32.0, FRONT.distance])
    assert left.tolist() == pytest.approx([42.0, 32.0, FRONT.distance])
    assert up.tolist() == pytest.approx([32.0, 22.0, FRONT.distance])
    assert front[2] == FRONT.distance - 1
    side = Camera(azimuth=90.0, target=(0.0, 0.1, 0.0)).project(points, (64, 64))
    assert (
        side[3, 0] < 32 and side[1, 2] < side[0, 2]
    )  # from its left the nose points to the left of the image


def test_a_shaded_ball() -> None:
    vertices, faces = ball(4)
    screen = FRONT.project(vertices, SIZE)
    fragments = TorchRasterizer()(screen, faces, SIZE)
    torch.testing.assert_close(vertex_normals(vertices, faces), vertices / 2, atol=1e-2, rtol=0)
    seen = fragments.covered
    normals = normal_image(fragments, vertices, faces, FRONT)
    points = interpolate(fragments, faces, vertices)[:, :, 0]
    torch.testing.assert_close(
        normals[seen], points[seen] / points[seen].norm(dim=1, keepdim=True), atol=0.02, rtol=0
    )
    inside_out = normal_image(fragments, vertices, faces.flip(1), FRONT)
    assert (inside_out[seen][:, 2] >= 0).all()
    image = shaded_image(fragments, vertices, faces, FRONT)
    assert (
        image.min() == 0 and 0.95 < image.max() <= 1 and (image[seen] > 0).all() and (image[~seen] == 0).all()
    )
    assert float(depth_image(fragments, FRONT)[6, 8]) == pytest.approx(2.0, abs=0.1)


def test_displacement_is_the_difference_of_projections() -> None:
    vertices, faces = ball()
    moved = vertices + torch.tensor([0.3, -0.2, 0.1]) * vertices[:, :1]
    neutral, deformed = FRONT.project(vertices, SIZE), FRONT.project(moved, SIZE)
    fragments = TorchRasterizer()(neutral, faces, SIZE)
    image = displacement_image(fragments, faces, neutral, deformed)
    assert (image[~fragments.covered] == STILL).all()
    for row, column in fragments.covered.nonzero().tolist():
        corners = faces[fragments.faces[row, column, 0]]
        weights = fragments.barycentrics[row, column, 0]
        difference = sum(
            float(w) * (deformed[v, :2] - neutral[v, :2]) for w, v in zip(weights, corners, strict=True)
        )
        expected = difference / torch.tensor([SIZE[1], SIZE[0]]) * 0.5 + 0.5
        torch.testing.assert_close(image[row, column], expected)
    assert (displacement_image(fragments, faces, neutral, neutral) == STILL).all()


def drawn(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def draw(vertices: Tensor, faces: Tensor) -> Tensor:
        screen = FRONT.project(vertices, SIZE)
        fragments = TorchRasterizer()(screen, faces, SIZE)
        if name == "shaded":
            return shaded_image(fragments, vertices, faces, FRONT)
        if name == "mask":
            return soft_mask(fragments, screen, faces, softness=0.3)
        if name == "distances":
            blurred = TorchRasterizer(3)(screen, faces, SIZE, 0.01)
            return blurred.distances * (blurred.faces >= 0)
        if name == "depth":
            return depth_image(fragments, FRONT)
        neutral = FRONT.project(ball(1)[0], SIZE)
        still = TorchRasterizer()(neutral, faces, SIZE)
        return displacement_image(still, faces, neutral, screen)

    return draw


@pytest.mark.parametrize("name", ["shaded", "mask", "distances", "depth", "displacement"])
def test_gradients_are_finite_differences(name: str) -> None:
    vertices, faces = ball(1)
    vertices = vertices + 0.05 * torch.randn(
        vertices.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    draw = drawn(name)
    vertices.requires_grad_()
    image = draw(vertices, faces)
    weights = torch.rand(image.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((image * weights).sum(), vertices)
    assert gradient.abs().max() > 1e-3
    step = 1e-7  # so small that no pixel changes its face
    for index in range(0, vertices.numel(), 7):
        change = torch.zeros(vertices.numel(), dtype=torch.float64)
        change[index] = step
        change = change.view(vertices.shape)
        with torch.no_grad():
            rise = ((draw(vertices + change, faces) - draw(vertices - change, faces)) * weights).sum() / (
                2 * step
            )
        assert float(gradient.flatten()[index]) == pytest.approx(float(rise), abs=1e-5, rel=1e-4)


@pytest.mark.parametrize("subdivisions", [1, 4])
def test_soft_mask_knows_the_distance_from_the_outline(subdivisions: int) -> None:
    vertices, faces = ball(subdivisions)
    camera, size = replace(FRONT, perspective=False, target=(0.0, 0.0, 0.0)), (64, 64)
    screen = camera.project(vertices, size)
    fragments = TorchRasterizer()(screen, faces, size, perspective=False)
    mask = soft_mask(fragments, screen, faces, softness=0.1)
    centres = torch.arange(64) + 0.5 - 32
    distance = 2 / camera.extent - torch.hypot(centres[:, None], centres) / 32  # of a true ball, in NDC units
    u = (0.5 + distance / 0.2).clamp(0, 1)
    tolerance = 0.5 if subdivisions == 1 else 0.02
    assert (mask - u.square() * (3 - 2 * u)).abs().max() < tolerance
    assert (mask - hard_mask(fragments)).abs().max() <= 0.5
    assert mask.min() == 0 and mask.max() == 1


@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_soft_mask_pushes_the_outline_the_right_way(scale: float) -> None:
    vertices, faces = ball(3)
    size = (64, 64)

    def mask_of(points: Tensor) -> Tensor:
        screen = FRONT.project(points, size)
        return soft_mask(TorchRasterizer()(screen, faces, size), screen, faces)

    target = mask_of(vertices)
    factor = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([factor], lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        (mask_of(vertices * factor) - target).square().sum().backward()
        assert factor.grad is not None
        optimizer.step()
    assert float(factor.detach()) == pytest.approx(1.0, abs=0.02)


def test_pytorch3d_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d._C", None)
    with pytest.raises(BackendError, match="INSTALL"):
        PyTorch3DRasterizer()
    assert isinstance(choose_rasterizer(torch.device("cpu"), 3), TorchRasterizer)


@pytest.mark.skipif(find_spec("pytorch3d") is None, reason="PyTorch3D is not installed")
def test_faces_are_those_of_pytorch3d() -> None:
    vertices, faces = ball(2)
    size = (128, 128)
    screen = FRONT.project(vertices.float(), size)
    ours, theirs = TorchRasterizer()(screen, faces, size), PyTorch3DRasterizer()(screen, faces, size)
    # A pixel centre on an edge belongs to none of its faces there.
    assert (ours.faces != theirs.faces).sum() <= 4
    same = (ours.faces == theirs.faces) & (ours.faces >= 0)
    torch.testing.assert_close(ours.barycentrics[same], theirs.barycentrics[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.depth[same], theirs.depth[same], atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.distances[same], theirs.distances[same], atol=1e-6, rtol=0)


@pytest.mark.gpu
def test_cuda_finds_the_same() -> None:
    vertices, faces = ball(3)
    screen = FRONT.project(vertices, SIZE)
    here = TorchRasterizer(2)(screen, faces, SIZE)
    there = TorchRasterizer(2)(screen.cuda(), faces.cuda(), SIZE)
    assert torch.equal(there.faces.cpu(), here.faces)
    torch.testing.assert_close(there.depth.cpu(), here.depth)
