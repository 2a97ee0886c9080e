"""Rocketbox heads in canonical coordinates, and what they wear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raf_runtime.surface import Surface
from raf_training.data.rocketbox import RocketboxHead, load_rocketbox
from raf_training.data.wardrobe import Wardrobe, load_wardrobe
from raf_training.errors import DataError

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="module")
def heads() -> list[RocketboxHead]:
    return load_rocketbox(DATA)


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return load_wardrobe(DATA)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rocketbox_neutral"):
        load_wardrobe(tmp_path)


@pytest.mark.shared_data
def test_heads_are_canonical(heads: list[RocketboxHead]) -> None:
    assert len(heads) == 114
    assert sum(head.held_out for head in heads) == 23
    for head in heads:
        np.testing.assert_allclose(head.anchors.mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose((head.anchors**2).sum(axis=1).mean(), 1)
        # The skull lies behind and above the face, the left eye at +X.
        assert head.vertices[:, 2].min() < -3
        assert head.vertices[:, 1].max() > 2.5
        assert head.anchors[0, 0] > 0.5


@pytest.mark.shared_data
def test_eyes_and_skin_are_not_worn(heads: list[RocketboxHead]) -> None:
    for head in heads:
        own = Surface.build(head.vertices, head.faces[~head.worn])
        eyes = [
            own.vertices[own.component == part].mean(axis=0)
            for part in np.flatnonzero(np.bincount(own.component) == 73)
        ]
        assert len(eyes) == 2
        np.testing.assert_allclose(np.abs(eyes)[:, 0], head.anchors[0, 0], atol=0.1)
        assert len(own.vertices) > 500  # a face behind a balaclava has so few


@pytest.mark.shared_data
def test_who_wears_nothing_loose_wears_nothing(heads: list[RocketboxHead]) -> None:
    worn = {head.name: head.worn.sum() for head in heads}
    assert worn["Adults_Male_Adult_11"] == 0
    assert worn["Professions_Construction_Male_03"] > 300


@pytest.mark.shared_data
def test_outfits_follow_the_dice_alone(wardrobe: Wardrobe) -> None:
    first, second = (wardrobe.dress(np.random.default_rng(7)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.shared_data
def test_outfits_grow_with_the_skull(wardrobe: Wardrobe) -> None:
    head = np.random.default_rng(0).uniform([-2.3, -2, -5], [2.3, 3.4, 1], (500, 3))
    wide = head * [1.3, 1.0, 1.0]
    for seed in range(20):
        a, faces = wardrobe.dress(np.random.default_rng(seed), head)
        b, _ = wardrobe.dress(np.random.default_rng(seed), wide)
        assert np.ptp(b[:, 0]) > 1.05 * np.ptp(a[:, 0])
        assert faces.min() == 0
        assert faces.max() == len(a) - 1


@pytest.mark.shared_data
def test_no_outfit_of_a_held_out_head(heads: list[RocketboxHead], wardrobe: Wardrobe) -> None:
    assert len(wardrobe.outfits) > 50
    assert not {outfit.name for outfit in wardrobe.outfits} & {head.name for head in heads if head.held_out}
