"""Prepared heads on disk."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy import sparse

import raf_sdk
from raf_runtime import head as head_module
from raf_runtime.head import prepare_head
from raf_sdk import _cache
from raf_sdk._cache import HeadCache
from raf_sdk._cli import main
from raf_sdk.io import read_mesh

EXAMPLE = Path(raf_sdk.__file__).parent / "data" / "example_head.obj"
K = 16


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(2)
    return mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a head was really prepared, as the length of a list."""
    calls: list[int] = []

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return prepare_head(*arguments)

    monkeypatch.setattr(_cache, "prepare_head", counting)
    return calls


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if is_dataclass(a):
        return all(same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, sparse.csr_array):
        return a.shape == b.shape and (a != b).nnz == 0
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


@pytest.mark.parametrize("large", [False, True])
def test_everything_of_a_head_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: list[int], large: bool
) -> None:
    if large:
        monkeypatch.setattr(head_module, "LARGE", 2000)
    mesh = read_mesh(EXAMPLE)
    first, again = (HeadCache(tmp_path).prepare(mesh.vertices, mesh.faces, K) for _ in range(2))
    assert len(prepared) == 1
    assert first.parts.eyes and first.parts.mouth
    assert (first.coarse is not None) is large and (first.mirror is None) is large
    assert same(first, again)


def test_a_rig_of_a_head_that_was_seen_is_the_same(tmp_path: Path, prepared: list[int]) -> None:
    fresh = raf_sdk.Rigger(device="cpu").rig(EXAMPLE)
    assert not entries(tmp_path) and not prepared  # off by default
    for _ in range(2):
        cached = raf_sdk.Rigger(device="cpu", cache=tmp_path).rig(EXAMPLE)
        np.testing.assert_allclose(cached.deltas, fresh.deltas, atol=1e-6 * np.abs(fresh.deltas).max())
    assert len(prepared) == 1


def test_what_the_result_depends_on_is_in_the_key(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ball: tuple[np.ndarray, np.ndarray],
    prepared: list[int],
) -> None:
    vertices, faces = ball
    moved = vertices.copy()
    moved[7, 1] = np.nextafter(moved[7, 1], np.float32(9))
    cache = HeadCache(tmp_path)
    for arguments in (
        (vertices, faces, K),
        (moved, faces, K),
        (vertices, faces[::-1], K),
        (vertices, faces, K + 1),
    ):
        cache.prepare(*arguments)
    assert len(prepared) == 4
    monkeypatch.setattr(_cache, "_preparation", lambda: "the code of another version")
    cache.prepare(vertices, faces, K)
    assert len(prepared) == 5


@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "noise", "foreign", "pickle"])
def test_a_damaged_entry_is_made_anew(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ball: tuple[np.ndarray, np.ndarray],
    prepared: list[int],
    damage: str,
) -> None:
    cache = HeadCache(tmp_path)
    good = cache.prepare(*ball, K)
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    if damage == "foreign":
        cache.prepare(ball[0] * 2, ball[1], K)
        (other,) = set(entries(tmp_path)) - {entry}
        other.replace(entry)
    elif damage == "pickle":
        with entry.open("wb") as file:
            np.savez(file, key=np.array({"an": "object"}, dtype=object))
    else:
        middle = len(content) // 2
        content[middle] ^= 0xFF
        damaged = {"empty": b"", "truncated": content[:middle], "flipped": content, "noise": os.urandom(999)}
        entry.write_bytes(damaged[damage])
    prepared.clear()
    with caplog.at_level(logging.WARNING, "raf_sdk"):
        assert same(cache.prepare(*ball, K), good)
    assert len(prepared) == 1 and "made anew" in caplog.text
    cache.prepare(*ball, K)
    assert len(prepared) == 1


def test_what_has_not_been_used_for_longest_goes_first(
    tmp_path: Path, ball: tuple[np.ndarray, np.ndarray], prepared: list[int]
) -> None:
    HeadCache(tmp_path).prepare(*ball, K)
    (first,) = entries(tmp_path)
    size = first.stat().st_size
    cache = HeadCache(tmp_path, limit=int(2.5 * size))
    cache.prepare(2 * ball[0], ball[1], K)
    (second,) = set(entries(tmp_path)) - {first}
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    cache.prepare(*ball, K)  # used: no longer the oldest
    cache.prepare(3 * ball[0], ball[1], K)
    assert first.exists() and not second.exists() and len(entries(tmp_path)) == 2
    HeadCache(tmp_path / "small", limit=size // 2).prepare(*ball, K)
    assert not entries(tmp_path / "small")


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ball: tuple[np.ndarray, np.ndarray]
) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    assert HeadCache(occupied).prepare(*ball, K).surface.vertices.shape == ball[0].shape

    def full(file: Any, **_: Any) -> None:
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    HeadCache(tmp_path / "full").prepare(*ball, K)
    assert not entries(tmp_path / "full")


def test_the_command_keeps_heads_unless_told_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: list[int]
) -> None:
    monkeypatch.setattr(_cache.platformdirs, "user_cache_dir", lambda _: str(tmp_path / "cache"))
    command = ["rig", str(EXAMPLE), "-o", str(tmp_path / "rig.npz"), "--device", "cpu"]
    assert main([*command, "--no-cache"]) == 0
    assert not entries(tmp_path / "cache")
    assert main(command) == main(command) == 0
    assert len(entries(tmp_path / "cache" / "heads")) == len(prepared) == 1
