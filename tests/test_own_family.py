"""Rigs of one's own: imported, divided, blended in pairs, and built beside the shipped families."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray

from raf_runtime.contract import ARKIT_POSES
from raf_sdk import Mesh, Rig
from raf_training.data.archives import Arrays, check_ragged, read_archive, write_archive
from raf_training.data.blend import POOR, blend, draw_blend, is_poor, partners, poorness
from raf_training.data.build import BuildPlan, blended, pick_source
from raf_training.data.cli import main
from raf_training.data.importers.gltf import import_gltf
from raf_training.data.own import load_own, own_sources
from raf_training.data.rig_source import RigSource
from raf_training.data.samples import plain_head
from raf_training.data.sources import load_families, load_sources
from raf_training.dataset import SampleFolder
from raf_training.errors import DataError

Doubles = NDArray[np.float64]
HEADS = ("anna", "ben", "carl", "dora", "emil", "fay")
EYES = np.array([[0.75, 0.5, 1.55], [-0.75, 0.5, 1.55]])
MOUTH = np.array([0.0, -1.0, 1.65])


def head(name: str) -> Mesh:
    """An egg whose widths follow from its name, with a ball at each eye; its seam is open, as exporters cut it."""
    rng = np.random.default_rng(list(name.encode()))
    rows, columns = 24, 33
    polar, around = np.meshgrid(np.linspace(0.1, np.pi - 0.1, rows), np.linspace(-np.pi, np.pi, columns))
    egg = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=2)
    egg[-1] = egg[0]  # the last column of vertices lies on the first
    size = np.array([1.6, 2.2, 1.9]) * rng.uniform(0.9, 1.1, 3)
    index = np.arange(rows * columns).reshape(columns, rows)
    corners = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], axis=2).reshape(
        -1, 4
    )
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.35)
    balls = [(ball.vertices + centre - [0, 0, 0.25]) * size / [1.6, 2.2, 1.9] for centre in EYES]
    loose = [
        np.pad(ball.faces + egg[..., 0].size + n * len(ball.vertices), ((0, 0), (0, 1)), constant_values=-1)
        for n in (0, 1)
    ]
    return Mesh.from_triangles(
        np.concatenate([egg.reshape(-1, 3) * size, *balls]), np.concatenate([corners, *loose])
    )


def rig(name: str) -> Rig:
    mesh = head(name)
    points = mesh.vertices.astype(np.float64)
    place = {"eyeBlinkLeft": EYES[0], "eyeBlinkRight": EYES[1], "mouthPucker": MOUTH}
    deltas = np.stack(
        [bump(points, place.get(pose, MOUTH * (1 + i / 60))) for i, pose in enumerate(ARKIT_POSES)]
    )
    return Rig(mesh, ARKIT_POSES, deltas)


def bump(points: Doubles, place: Doubles) -> NDArray[np.float32]:
    near = np.exp(-np.square(points - place).sum(axis=1) / 0.3)
    return (near[:, None] * np.array([0.0, -0.2, 0.1])).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rigs")
    for name in HEADS:
        rig(name).save(folder / f"{name}.glb")
    return folder


@pytest.fixture(scope="module")
def data(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    said = "Heads by the studio (CC BY 4.0)"
    assert main(["import", "gltf", str(files), "-o", str(folder / "studio.npz"), "--attribution", said]) == 0
    return folder


@pytest.fixture(scope="module")
def sources(data: Path) -> dict[str, RigSource]:
    return load_families(data, ["studio"])


def test_rigs_become_a_family(sources: dict[str, RigSource]) -> None:
    assert list(sources) == [f"studio/{name}" for name in HEADS]
    for name, source in zip(HEADS, sources.values(), strict=True):
        truth = rig(name)
        assert source.family == "studio" and source.attribution == "Heads by the studio (CC BY 4.0)"
        assert source.mask.all()
        # The seam of 24 vertices is closed: one egg and two balls, no vertex twice.
        assert len(source.neutral) == len(truth.vertices) - 24
        assert source.part.max() == 2
        at = {tuple(point): i for i, point in enumerate(truth.vertices.tolist())}
        row = [at[tuple(point)] for point in source.neutral.tolist()]
        np.testing.assert_allclose(source.deltas, truth.deltas[:, row], atol=1e-5)  # as the writer rounds
        assert (source.faces[:, 3] == -1).all() and source.faces[:, :3].min() == 0
        left, right, mouth = source.anchors(source.neutral)
        assert left[0] > 0.5 and right[0] < -0.5 and mouth[1] < left[1]


def test_every_fifth_head_is_held_out(sources: dict[str, RigSource]) -> None:
    assert [source.held_out for source in sources.values()] == [False, False, False, True, False, False]
    assert not any(source.is_alone for source in sources.values())


def test_a_family_of_few_holds_none_out(files: Path, tmp_path: Path) -> None:
    paths = [files / f"{name}.glb" for name in HEADS[:3]]
    assert import_gltf(paths, tmp_path / "few.npz") == "3 heads, 0 of them held out for tests"
    assert all(source.held_out is None and source.is_alone for source in load_own(tmp_path / "few.npz"))


@pytest.mark.parametrize("spelling", ["{}_L", "face.{}Left", "{}left"])
def test_names_of_other_tools_are_understood(tmp_path: Path, spelling: str) -> None:
    truth = rig("anna")
    names = [spelling.format(p.removesuffix("Left")) if p == "eyeBlinkLeft" else p for p in ARKIT_POSES]
    Rig(truth.mesh, tuple(names), truth.deltas).save(tmp_path / "anna.glb")
    import_gltf([tmp_path / "anna.glb"], tmp_path / "own.npz")
    assert load_own(tmp_path / "own.npz")[0].mask.all()


def on_body(name: str) -> Rig:
    """A head on a body that stands below it, in the same file."""
    alone = rig(name)
    body = trimesh.creation.capsule(9.0, 2.5, count=(24, 24)).apply_transform(
        trimesh.transformations.rotation_matrix(np.pi / 2, (1, 0, 0))
    )
    body.apply_translation((0, -2.5 - body.bounds[1, 1], 0))
    mesh = Mesh.from_triangles(
        np.concatenate([alone.vertices, body.vertices]),
        np.concatenate([alone.faces, body.faces + len(alone.vertices)]),
    )
    return Rig(mesh, ARKIT_POSES, np.pad(alone.deltas, ((0, 0), (0, len(body.vertices)), (0, 0))))


def test_of_whole_characters_heads_are_taken(data: Path, tmp_path: Path) -> None:
    for name in HEADS:
        on_body(name).save(tmp_path / f"{name}.glb")
    said = import_gltf([tmp_path], tmp_path / "studio.npz")
    assert said == "6 heads, 1 of them held out for tests, 6 cut from their bodies"
    sources, alone = load_own(tmp_path / "studio.npz"), load_own(data / "studio.npz")
    assert len({source.faces.tobytes() for source in sources}) == 1
    for source, head_only in zip(sources, alone, strict=True):
        size, face = len(source.neutral), len(head_only.neutral)
        assert face <= size < face + 300
        np.testing.assert_allclose(
            source.anchors(source.neutral), head_only.anchors(head_only.neutral), atol=1e-4
        )


def some(names: Sequence[str], **renamed: str) -> Rig:
    truth = rig("anna").select(names)
    return Rig(truth.mesh, tuple(renamed.get(name, name) for name in names), truth.deltas)


def spoilt(kind: str) -> Rig:
    poses = list(ARKIT_POSES)
    truth = rig("anna")
    if kind == "a missing pose":
        return some([pose for pose in poses if pose != "tongueOut"])
    if kind == "an unknown pose":
        return some(poses, jawOpen="jawOpenWide")
    if kind == "no eyes":
        return some([pose for pose in poses if pose != "eyeBlinkLeft"])
    if kind == "sides swapped":
        return some(poses, eyeBlinkLeft="eyeBlinkRight", eyeBlinkRight="eyeBlinkLeft")
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)  # Z up
    mesh = Mesh(truth.vertices @ turn.T, truth.mesh.face_indices, truth.mesh.face_sizes)
    return Rig(mesh, truth.names, truth.deltas @ turn.T)


@pytest.mark.parametrize(
    ("kind", "partial", "message"),
    [
        ("a missing pose", False, r"anna\.glb lacks tongueOut; mend the rig, or .* --partial"),
        ("an unknown pose", False, r"anna\.glb lacks jawOpen and has 'jawOpenWide', none of ARKit's"),
        ("no eyes", True, "own/anna lacks one of eyeBlinkLeft, eyeBlinkRight"),
        ("sides swapped", False, "own/anna does not stand upright"),
        ("Z up", False, "own/anna does not stand upright, looking along"),
    ],
)
def test_rigs_that_cannot_teach_are_refused(tmp_path: Path, kind: str, partial: bool, message: str) -> None:
    spoilt(kind).save(tmp_path / "anna.glb")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(DataError, match=message):
        import_gltf([tmp_path / "anna.glb"], out / "own.npz", partial=partial)
    assert not list(out.iterdir())


@pytest.mark.parametrize("kind", ["a missing pose", "an unknown pose"])
def test_a_partial_rig_is_masked(tmp_path: Path, kind: str) -> None:
    spoilt(kind).save(tmp_path / "anna.glb")
    import_gltf([tmp_path / "anna.glb"], tmp_path / "own.npz", partial=True)
    (source,) = load_own(tmp_path / "own.npz")
    lost = "tongueOut" if kind == "a missing pose" else "jawOpen"
    assert [pose for pose, known in zip(ARKIT_POSES, source.mask, strict=True) if not known] == [lost]


def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (files / "anna.glb").read_bytes()
    (tmp_path / "anna.glb").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "anna.glb").write_bytes(data)
    out = tmp_path / "own.npz"
    for paths, message in (
        ([tmp_path / "anna.glb"], "anna.glb: "),
        ([tmp_path / "nobody.glb"], "nobody.glb does not exist"),
        ([tmp_path / "empty"], "holds no file with the suffix .glb, .gltf"),
        ([files, tmp_path / "b"], "are two heads of one name"),
    ):
        assert main(["import", "gltf", *map(str, paths), "-o", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()


def arrays(data: Path) -> Arrays:
    return read_archive(data / "studio.npz")


def test_damaged_archives_are_refused(data: Path, tmp_path: Path) -> None:
    good = arrays(data)
    path = tmp_path / "own.npz"
    nan = good["expression_deltas"].copy()
    nan[7, 30, 1] = np.nan
    names = good["expression_names"].copy()
    for changed, message in (
        ({"expression_deltas": good["expression_deltas"][:, :-1]}, "expression_deltas has the shape"),
        ({"expression_deltas": nan}, r"expression_deltas\[7, 30, 1\] is nan"),
        ({"expression_mask": good["expression_mask"][:-1]}, "expression_mask has the shape"),
        ({"expression_names": np.where(names == "jawOpen", "jawopen", names)}, "'jawopen' is none of the 52"),
        ({"expression_names": np.where(names == "jawOpen", "jawLeft", names)}, "a shape appears twice"),
        ({"vertex_offsets": good["vertex_offsets"] + 1}, "vertex_offsets do not rise"),
    ):
        write_archive(path, {**good, **changed})
        with pytest.raises(DataError, match=message):
            load_own(path)
    del good["expression_mask"]
    write_archive(path, good)
    out = tmp_path / "samples"
    options = ["--out", str(out), "--samples", "1", "--families", "own", "--processes", "1"]
    assert main(["build", "--data", str(tmp_path), *options]) == 2
    assert not out.exists()


def test_sources_are_found_by_name(data: Path) -> None:
    assert list(load_sources(data, ["studio/ben"])) == ["studio/ben"]
    for name in ("nobody", "../data/studio", "wardrobe", ""):
        with pytest.raises(DataError, match="unknown family"):
            load_families(data, [name])


def twin(source: RigSource, name: str, vertices: Doubles) -> RigSource:
    return replace(source, name=name, neutral=vertices.astype(np.float32))


def test_partners_share_family_topology_and_split(sources: dict[str, RigSource]) -> None:
    training = [source for source in sources.values() if not source.held_out]
    found = partners(training)
    assert set(found) == {source.name for source in training}
    assert {other.name for other in found["studio/anna"]} == set(found) - {"studio/anna"}
    first, second, *rest = training
    assert not partners([first, replace(second, family="other")])
    shuffled = np.random.default_rng(0).permutation(len(second.neutral))
    other = np.where(second.faces < 0, -1, shuffled[second.faces]).astype(np.int32)
    assert not partners([first, replace(second, faces=other)])
    # The diagonals of quads are no part of a topology.
    assert partners([first, replace(second, faces=with_other_diagonals(second.faces))])
    assert not partners([first])
    modes = np.zeros((1, *first.neutral.shape), np.float32)
    assert set(partners([first, replace(second, modes=modes), rest[0]])) == {first.name, rest[0].name}


def with_other_diagonals(faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """Triangles that come in pairs, each pair across the other diagonal of its quad."""
    turned = faces.copy()
    for a in range(0, 2 * 32 * 23, 2):
        first, second = faces[a, :3].tolist(), faces[a + 1, :3].tolist()
        (lone,) = set(first) - set(second)
        (far,) = set(second) - set(first)
        i = first.index(lone)
        turned[a, :3] = [lone, first[(i + 1) % 3], far]
        turned[a + 1, :3] = [lone, far, first[(i + 2) % 3]]
    return turned


def test_a_blend_is_in_between(sources: dict[str, RigSource]) -> None:
    anna, ben = sources["studio/anna"], sources["studio/ben"]
    ben = replace(
        ben, mask=ben.mask & (np.arange(52) != 3), neutral=ben.neutral * 100, deltas=ben.deltas * 100
    )
    child = blend(anna, ben, 0.25)
    a, b = plain_head(anna, anna.neutral), plain_head(ben, ben.neutral)
    np.testing.assert_allclose(child.neutral, 0.75 * a.vertices + 0.25 * b.vertices, atol=1e-5)
    np.testing.assert_allclose(child.deltas[10], 0.75 * a.deltas[10] + 0.25 * b.deltas[10], atol=1e-6)
    assert child.mask.sum() == 51 and not child.deltas[3].any()
    assert child.name == "studio/anna+ben" and child.family == "studio"
    # Its anchors are where those of its parents are, to what shapes of both move.
    np.testing.assert_allclose(child.anchors(child.neutral), 0.75 * a.anchors + 0.25 * b.anchors, atol=0.02)


def test_good_blends_are_kept_and_poor_ones_are_not(sources: dict[str, RigSource]) -> None:
    anna, ben = (plain_head(source, source.neutral) for source in list(sources.values())[:2])
    part = sources["studio/anna"].part
    parents = anna.vertices, ben.vertices
    mean = (anna.vertices + ben.vertices) / 2

    def shares(child: Doubles) -> Doubles:
        return poorness(child, parents, anna.faces, part)

    assert not is_poor(mean, parents, anna.faces, part) and shares(mean).max() < 1e-6
    egg = part == 0
    # Its back to the front: the triangles that look there are turned.
    turned = np.where(egg[:, None], mean * [1, 1, -1], mean)
    assert shares(turned)[0] > 0.5 and is_poor(turned, parents, anna.faces, part)
    # Flat: the triangles of the brow collapse.
    flat = mean.copy()
    brow = egg & (mean[:, 1] > 1.5)
    flat[brow] = flat[brow].mean(axis=0)
    assert 0.01 < shares(flat)[1] < 0.5 and is_poor(flat, parents, anna.faces, part)
    # Eyeballs that come forward through their lids.
    sunk = mean + np.where(egg, 0.0, 0.3)[:, None] * [0, 0, 1]
    assert shares(sunk)[2] > POOR[2] and is_poor(sunk, parents, anna.faces, part)


def test_poor_blends_are_drawn_again(sources: dict[str, RigSource]) -> None:
    """A head that is another one upside down, by its vertices, has no sound blend: the head itself is drawn."""
    anna, ben = sources["studio/anna"], sources["studio/ben"]
    mixed = twin(ben, "studio/mixed", np.random.default_rng(0).permutation(ben.neutral))
    assert draw_blend(anna, [mixed], np.random.default_rng(0)) is anna
    found = {draw_blend(anna, [mixed, ben], np.random.default_rng(seed)).name for seed in range(6)}
    assert "studio/anna+ben" in found and "studio/anna+mixed" not in found


def test_a_head_has_as_many_blends_as_the_factor(sources: dict[str, RigSource], data: Path) -> None:
    plan = BuildPlan(data, data, ("studio",), "train", 1, 0, factor=4)
    anna = sources["studio/anna"]
    others = partners([source for source in sources.values() if not source.held_out])["studio/anna"]
    rng = np.random.default_rng(1)
    drawn = [blended(anna, others, rng, plan) for _ in range(120)]
    plain = [source for source in drawn if source is anna]
    assert len(plain) == pytest.approx(120 / 5, abs=12)
    assert len({source.neutral.tobytes() for source in drawn if source is not anna}) == 4
    assert blended(anna, others, rng, replace(plan, factor=0)) is anna


def test_own_families_have_a_share(sources: dict[str, RigSource]) -> None:
    anna = sources["studio/anna"]
    both = {"animals/koala": replace(anna, name="animals/koala", family="animals"), "studio/anna": anna}
    rng = np.random.default_rng(0)
    drawn = [pick_source(both, ("animals", "studio"), rng).family for _ in range(600)]
    assert drawn.count("studio") / 600 == pytest.approx(0.25 / 0.37, abs=0.06)


def test_samples_are_built_by_identity(data: Path, tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}
    for split in ("train", "val"):
        out = tmp_path / split
        options = [
            "--samples",
            "10",
            "--families",
            "studio",
            "--processes",
            "1",
            "--split",
            split,
            "--dress-share",
            "0",
        ]
        arguments = ["build", "--data", str(data), "--out", str(out), *options]
        assert main(arguments) == 0
        folder = SampleFolder(out)
        names = [sample.source for sample in folder]
        seen[split] = {name for source in names for name in source.partition("/")[2].split("+")}
        assert folder.attribution["studio"] == "Heads by the studio (CC BY 4.0)"
        if split == "train":
            assert any("+" in name for name in names)
            assert json.loads((out / "manifest.json").read_text())["factor"] == 25
            assert main([*arguments, "--factor", "3"]) == 2
    assert seen["val"] == {"dora"}
    assert seen["train"] <= set(HEADS) - {"dora"}


def test_unrigged_heads_are_blended_on_their_side_of_the_split(tmp_path: Path) -> None:
    for name in HEADS:
        mesh = head(name)
        trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / f"{name}.ply")
    out = tmp_path / "neutral.npz"
    arguments = ["import", "neutral", str(tmp_path), "-o", str(out)]
    assert main(arguments) == 0
    plain = read_archive(out)
    check_ragged(out, plain)
    assert plain["names"].tolist() == list(HEADS)
    assert plain["held_out"].tolist() == [False, False, False, True, False, False]
    assert main([*arguments, "--factor", "3"]) == 0
    found = read_archive(out)
    check_ragged(out, found)
    names = found["names"].tolist()
    assert names[:6] == list(HEADS) and len(names) == 6 + 3 * 5
    assert not any("dora" in name for name in names[6:]) and found["held_out"].sum() == 1
    before = out.read_bytes()
    assert main([*arguments, "--factor", "3"]) == 0
    assert out.read_bytes() == before
    # A blend of two eggs is an egg: its axes lie between theirs.
    extent = {
        name: np.ptp(found["vertices"][slice(*found["vertex_offsets"][i : i + 2])], axis=0)
        for i, name in enumerate(names)
    }
    child = next(name for name in names[6:] if name.startswith("anna+ben"))
    ratio = [extent[name][0] / extent[name][1] for name in ("anna", child, "ben")]
    assert min(ratio[0], ratio[2]) - 0.02 < ratio[1] < max(ratio[0], ratio[2]) + 0.02


def test_own_sources_name_the_head(data: Path) -> None:
    found = arrays(data)
    found["vertices"] = found["vertices"][:, [0, 2, 1]]
    with pytest.raises(DataError, match="own/anna does not stand upright"):
        own_sources(Path("own.npz"), found)
