"""Samples: reading, mirroring, moving, and the stream of a training."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from raf_runtime.contract import ARKIT_POSES, INPUTS
from raf_runtime.operators import Operators
from raf_training.batches import MIRRORED_POSES, Batch, HeadPool, OneByOne, mirror, move
from raf_training.dataset import Sample, SampleFolder
from raf_training.errors import DataError
from raf_training.network import NetworkConfig, RigNetwork, SurfaceTensors

if TYPE_CHECKING:
    from tests.eggs import Egg, only, tensors, write_eggs
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from eggs import Egg, only, tensors, write_eggs

CPU = torch.device("cpu")
P, V, K = len(ARKIT_POSES), 42, 12
FLIP = np.array([-1.0, 1.0, 1.0])
ATTRIBUTION = {"rig0": "nobody", "rig1": "somebody", "wardrobe": "tailors"}


def head() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A closed surface without any symmetry; so small that its eigenpairs are exact, not approximated."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    points = np.asarray(ball.vertices) * [1.6, 2.1, 1.2]
    points += 0.2 * np.sin(points[:, [1, 2, 0]] * [1.1, 0.7, 1.3] + [0.3, 1.0, 2.0])
    return points, np.asarray(ball.faces, dtype=np.int64)


def tensors_of(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> SurfaceTensors:
    operators = Operators.build(vertices, faces, np.zeros(len(vertices), dtype=np.int64), K)
    return SurfaceTensors(**{name: torch.from_numpy(value) for name, value in operators.as_inputs().items()})


def sample() -> Sample:
    random = torch.Generator().manual_seed(1)
    mask = torch.rand(P, generator=random) < 0.8
    return Sample(tensors_of(*head()), torch.randn(P, V, 3, generator=random), mask, "ict", False)


def first(surface: SurfaceTensors) -> SurfaceTensors:
    return SurfaceTensors(*(getattr(surface, name)[0] for name in INPUTS))


def answer(surface: SurfaceTensors) -> Tensor:
    """What a network with random weights says: it sees all of a surface, but no signs of eigenvectors."""
    torch.manual_seed(0)
    network = RigNetwork(NetworkConfig(eigenpairs=K, width=16, gradients=8, trunk_blocks=2, encoder_blocks=1))
    for parameter in network.head[-1].parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        return network(surface)


def write_sample(path: Path, like: Sample, **changes: Tensor) -> None:
    tensors = {name: getattr(like.surface, name) for name in INPUTS}
    tensors |= {"deltas": like.deltas.half(), "mask": like.mask}
    save_file(tensors | changes, path, metadata={"source": like.source})


def folder_of(path: Path, count: int) -> SampleFolder:
    (path / "manifest.json").write_text(
        json.dumps({"families": ["rig0", "rig1"], "attribution": ATTRIBUTION})
    )
    like = sample()
    for index in range(count):
        write_sample(path / f"{index:06d}.safetensors", replace(like, source=f"rig{index}"))
    return SampleFolder(path)


def one() -> Batch:
    return Batch.of(sample())


def equal(a: Batch, b: Batch) -> bool:
    pairs = zip(tensors(a).values(), tensors(b).values(), strict=True)
    return a.sources == b.sources and all(torch.equal(one, other) for one, other in pairs)


def test_a_mirror_twice_is_nothing() -> None:
    yes = torch.tensor([True])
    assert equal(mirror(mirror(one(), yes), yes), one())
    assert not equal(mirror(one(), yes), one())
    assert equal(mirror(one(), ~yes), one())


@pytest.mark.parametrize(
    ("pose", "other"),
    [
        ("jawLeft", "jawRight"),
        ("eyeBlinkLeft", "eyeBlinkRight"),
        ("eyeLookInLeft", "eyeLookInRight"),
        ("mouthUpperUpRight", "mouthUpperUpLeft"),
        ("jawOpen", "jawOpen"),
        ("mouthClose", "mouthClose"),
    ],
)
def test_a_mirror_exchanges_sides(pose: str, other: str) -> None:
    assert ARKIT_POSES[MIRRORED_POSES[ARKIT_POSES.index(pose)]] == other
    plain, mirrored = sample(), mirror(one(), torch.tensor([True]))
    expected = plain.deltas[ARKIT_POSES.index(pose)] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(mirrored.deltas[0, ARKIT_POSES.index(other)], expected)
    assert mirrored.mask[0, ARKIT_POSES.index(other)] == plain.mask[ARKIT_POSES.index(pose)]


def test_a_mirrored_sample_is_the_sample_of_the_mirrored_mesh() -> None:
    vertices, faces = head()
    mirrored = first(mirror(one(), torch.tensor([True])).surface)
    recomputed = tensors_of(vertices * FLIP, faces[:, ::-1].copy())
    for name in ("positions", "normals", "mass", "eigenvalues"):
        torch.testing.assert_close(getattr(mirrored, name), getattr(recomputed, name), rtol=1e-4, atol=1e-4)
    # Eigenvectors come with any sign; their products with their own gradients do not.
    for name in ("gradient_x", "gradient_y"):
        found = mirrored.eigenvectors * getattr(mirrored, name)
        torch.testing.assert_close(
            found, recomputed.eigenvectors * getattr(recomputed, name), rtol=1e-2, atol=1e-3
        )
    torch.testing.assert_close(answer(mirrored), answer(recomputed), rtol=1e-2, atol=1e-2)
    # The comparison can fail: the unmirrored surface gives something else.
    assert (answer(mirrored) - answer(sample().surface)).abs().max() > 0.5


def test_a_moved_sample_is_the_sample_of_the_moved_mesh() -> None:
    vertices, faces = head()
    plain, batch = sample(), move(one(), np.random.default_rng(3))
    moved = replace(plain, surface=first(batch.surface), deltas=batch.deltas[0])
    # The similarity, found from the positions.
    known = np.c_[vertices, np.ones(V)]
    solved = np.linalg.lstsq(known, moved.surface.positions.double().numpy(), rcond=None)[0]
    linear, place = solved[:3].T, solved[3]
    scale = np.cbrt(np.linalg.det(linear))
    np.testing.assert_allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-5)
    assert 0 < abs(scale - 1) < 0.3
    assert 0 < np.linalg.norm(place) < 0.5
    assert 0.1 < np.degrees(np.arccos((np.trace(linear / scale) - 1) / 2)) < 30

    np.testing.assert_allclose(moved.deltas, plain.deltas.numpy() @ linear.T, atol=1e-4)
    recomputed = tensors_of(vertices @ linear.T + place, faces)
    for name in ("positions", "normals", "mass", "eigenvalues"):
        found, expected = getattr(moved.surface, name), getattr(recomputed, name)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    # Neither signs nor tangents need agree.
    torch.testing.assert_close(
        moved.surface.eigenvectors.abs(), recomputed.eigenvectors.abs(), rtol=1e-2, atol=1e-3
    )
    lengths = [torch.hypot(s.gradient_x, s.gradient_y) for s in (moved.surface, recomputed)]
    torch.testing.assert_close(lengths[0], lengths[1], rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(answer(moved.surface), answer(recomputed), rtol=1e-2, atol=1e-2)


def test_a_folder_gives_what_was_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 2)
    assert len(folder) == 2
    first = folder[0]
    assert first.source == "rig0"
    assert all(getattr(first.surface, name).dtype == torch.float32 for name in INPUTS)
    assert torch.equal(first.surface.positions, sample().surface.positions)
    assert torch.equal(first.deltas, sample().deltas.half().float())
    assert first.deltas.dtype == torch.float32 and first.mask.dtype == torch.bool


def test_batches_do_not_depend_on_where_they_start(tmp_path: Path) -> None:
    feed = OneByOne(folder_of(tmp_path, 3), CPU)
    unbroken, resumed = list(feed.batches(5, 0, 7)), list(feed.batches(5, 4, 7))
    assert len(unbroken) == 7
    assert all(equal(a, b) for a, b in zip(unbroken[4:], resumed, strict=True))
    # Every head once in an epoch, and never twice in the same place.
    for epoch in (unbroken[:3], unbroken[3:6]):
        assert {batch.sources for batch in epoch} == {("rig0",), ("rig1",), ("rig2",)}
    assert not any(equal(a, b) for a in unbroken[:3] for b in unbroken[3:6])
    assert not equal(next(feed.batches(6, 0, 1)), unbroken[0])


def test_batches_can_be_left_early(tmp_path: Path) -> None:
    feed = OneByOne(folder_of(tmp_path, 2), CPU)
    assert len(list(islice(feed.batches(0, 0, 100), 2))) == 2


def eggs_of(path: Path, count: int, sizes: int = 2) -> SampleFolder:
    """Heads, every third a stranger, of as many different numbers of vertices."""
    radii = np.random.default_rng(0).uniform(1.5, 2.5, (count, 3))
    return SampleFolder(
        write_eggs(path / "eggs", [Egg(r, i % 3 == 0, 1 + i % sizes) for i, r in enumerate(radii)])
    )


def test_a_pool_gives_the_heads_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = eggs_of(tmp_path, 7)
    monkeypatch.setattr("raf_training.batches._augmented", lambda batch, rng: batch)
    pool = HeadPool(folder, CPU, 3)
    drawn = [only(batch, i) for batch in pool.batches(0, 0, 2) for i in range(3)]
    assert {len(batch.there[0]) for batch in drawn} == {42, 162}
    known = [Batch.of(folder[i]) for i in range(7)]
    found = [[i for i in range(7) if equal(batch, known[i])] for batch in drawn]
    # Six different heads of the seven: one waits for the next epoch.
    assert all(len(which) == 1 for which in found)
    assert len({which[0] for which in found}) == 6


def test_a_pool_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    pool = HeadPool(eggs_of(tmp_path, 7), CPU, 3)
    unbroken = list(pool.batches(5, 0, 5))
    assert all(equal(a, b) for a, b in zip(unbroken[3:], pool.batches(5, 3, 5), strict=True))
    assert not equal(unbroken[0], unbroken[1])


def test_heads_of_a_batch_are_augmented_each_by_itself(tmp_path: Path) -> None:
    folder = eggs_of(tmp_path, 24, sizes=1)
    batch = next(HeadPool(folder, CPU, 24).batches(0, 0, 1))
    assert len(batch.deltas.square().sum((1, 2, 3)).unique()) == 24
    outermost = int(folder[0].surface.positions[:, 0].argmax())
    mirrored = int((batch.surface.positions[:, outermost, 0] < 0).sum())
    assert 4 < mirrored < 20


def test_a_batch_of_more_heads_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a batch of 8 heads cannot be made of 2; choose another --batch"):
        HeadPool(folder_of(tmp_path, 2), CPU, 8)


def test_a_family_can_be_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 3)
    rest = SampleFolder(folder.paths[0].parent, leave_out="rig1")
    assert {rest[i].source for i in range(len(rest))} == {"rig0", "rig2"}
    assert rest.attribution == {"rig0": "nobody", "wardrobe": "tailors"}
    with pytest.raises(DataError, match="nothing of 'cats' to leave out; there are rig0, rig1"):
        SampleFolder(tmp_path, leave_out="cats")
    with pytest.raises(DataError, match="nothing of 'wardrobe'"):  # what heads of all families wear is none
        SampleFolder(tmp_path, leave_out="wardrobe")


def test_a_family_that_shaped_the_others_cannot_be_left_out(tmp_path: Path) -> None:
    folder_of(tmp_path, 3)
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"consensus": ["rig0"]}))
    assert len(SampleFolder(tmp_path, leave_out="rig1")) == 2
    with pytest.raises(DataError, match="means of families, rig0 among them; build a folder without"):
        SampleFolder(tmp_path, leave_out="rig0")


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json.*raf-data build"):
        SampleFolder(tmp_path)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    for text in ('{"families": [', "{}", '{"families": ["ict"], "attribution": ["MIT"]}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(DataError, match=r"manifest\.json is damaged"):
            SampleFolder(tmp_path)


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"families": [], "attribution": {}}')
    with pytest.raises(DataError, match="no samples"):
        SampleFolder(tmp_path)


def test_a_truncated_sample_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 1)
    path = folder.paths[0]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"000000\.safetensors is not a readable sample"):
        folder[0]


def test_a_sample_that_lacks_a_tensor_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 1)
    tensors = load_file(folder.paths[0])
    del tensors["mass"]
    save_file(tensors, folder.paths[0], metadata={"source": "ict"})
    with pytest.raises(DataError, match="mass"):
        folder[0]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 1)
    save_file({"weights": torch.zeros(3)}, folder.paths[0])
    with pytest.raises(DataError, match="not a readable sample"):
        folder[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deltas", torch.full((P, V, 3), torch.nan)),
        ("deltas", torch.zeros(P, V - 1, 3)),
        ("deltas", torch.zeros(P - 1, V, 3)),
        ("positions", torch.full((V, 3), torch.inf)),
        ("eigenvectors", torch.zeros(V, K + 1)),
        ("mass", torch.zeros(V, 1)),
        ("mask", torch.ones(P - 1, dtype=torch.bool)),
    ],
)
def test_a_tensor_of_another_shape_or_not_finite_is_named(tmp_path: Path, name: str, value: Tensor) -> None:
    folder = folder_of(tmp_path, 1)
    write_sample(folder.paths[0], sample(), **{name: value})
    with pytest.raises(DataError, match=rf"000000\.safetensors: {name} is not"):
        folder[0]


def test_headers_are_checked_before_a_training(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 3)
    folder.check()
    last = tmp_path / "000002.safetensors"
    whole = last.read_bytes()
    last.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"000002\.safetensors is not a readable sample"):
        folder.check()
    write_sample(last, sample(), deltas=torch.zeros(P, V - 1, 3))
    with pytest.raises(DataError, match=r"000002\.safetensors: deltas is \(52, 41, 3\), not \(52, 42, 3\)"):
        folder.check()
    write_sample(last, sample(), positions=torch.tensor(0.0))
    with pytest.raises(DataError, match=r"000002\.safetensors is not a readable sample"):
        folder.check()
    last.write_bytes(whole)
    folder.check()
