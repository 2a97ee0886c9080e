"""The engine cache: what is kept, what is not believed, and what processes in each other's way do."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raf_runtime import engine_cache
from raf_runtime.engine_cache import cached_engine
from raf_runtime.engine_file import EngineFile
from raf_runtime.errors import DeviceError, ModelError, ModelFileNotFoundError

TARGET = {"model": "abc", "version": "10.1", "gpu": "T4"}
ENGINE = EngineFile(bytes(range(256)) * 10, TARGET, {"raf.contract": "1"})


def never() -> EngineFile:
    raise AssertionError("built although it is kept")


def data(engine: EngineFile) -> bytes:
    return engine.data


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.engine")
    return path


def test_an_engine_is_built_once(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert cached_engine(TARGET, lambda: ENGINE, data, folder) == ENGINE.data
    assert cached_engine(TARGET, never, lambda engine: engine, folder) == ENGINE
    assert {path.suffix for path in folder.iterdir()} <= {".engine", ".lock"}


@pytest.mark.parametrize("key", TARGET)
def test_another_target_is_another_engine(tmp_path: Path, key: str) -> None:
    cached_engine(TARGET, lambda: ENGINE, data, tmp_path)
    other = {**TARGET, key: "other"}
    rebuilt = EngineFile(b"other", other, {})
    assert cached_engine(other, lambda: rebuilt, data, tmp_path) == b"other"
    assert cached_engine(TARGET, never, data, tmp_path) == ENGINE.data


def test_the_cache_is_the_user_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine_cache, "user_cache_dir", lambda name: str(tmp_path / name))
    cached_engine(TARGET, lambda: ENGINE, data)
    assert only_file(tmp_path / "raf-sdk" / "engines").is_file()


def flip(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: content + b"x",
        flip,
        lambda content: b"another file altogether\n" + content,
        lambda content: content.replace(b'"sha256"', b'"sha257"'),
        lambda content: content.replace(b'"target": {', b'"target": [], "x": {'),
        lambda content: b"raf-engine 1\n" + b"[" * 100_000,
        lambda content: b"raf-engine 1\n" + b"x" * 3_000_000,
    ],
)
def test_a_damaged_engine_is_built_anew(
    tmp_path: Path, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    cached_engine(TARGET, lambda: ENGINE, data, tmp_path)
    path = only_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path) == ENGINE.data
    assert "built anew" in caplog.text
    assert path.read_bytes() == whole


def test_an_engine_of_something_else_under_the_right_name_is_not_believed(tmp_path: Path) -> None:
    cached_engine(TARGET, lambda: ENGINE, data, tmp_path)
    EngineFile(b"foreign", {**TARGET, "gpu": "A100"}, {}).write(only_file(tmp_path))
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path) == ENGINE.data
    assert EngineFile.read(only_file(tmp_path)) == ENGINE


def test_an_engine_that_cannot_be_loaded_is_built_anew(tmp_path: Path) -> None:
    stale = EngineFile(b"stale", TARGET, {})
    stale.write(tmp_path / "x")
    cached_engine(TARGET, lambda: stale, data, tmp_path)

    def load(engine: EngineFile) -> bytes:
        if engine.data == b"stale":
            raise ModelError("the engine is stale")
        return engine.data

    assert cached_engine(TARGET, lambda: ENGINE, load, tmp_path) == ENGINE.data
    assert EngineFile.read(only_file(tmp_path)) == ENGINE


def test_a_fresh_engine_that_cannot_be_loaded_is_not_kept(tmp_path: Path) -> None:
    def refuse(_engine: EngineFile) -> bytes:
        raise ModelError("of another GPU")

    with pytest.raises(ModelError, match="of another GPU"):
        cached_engine(TARGET, lambda: ENGINE, refuse, tmp_path)
    assert not list(tmp_path.glob("*.engine*"))
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path) == ENGINE.data


def test_a_failed_build_leaves_nothing_and_no_lock(tmp_path: Path) -> None:
    def fail() -> EngineFile:
        raise DeviceError("the GPU is short of memory")

    with pytest.raises(DeviceError, match="short of memory"):
        cached_engine(TARGET, fail, data, tmp_path)
    assert not list(tmp_path.glob("*.engine*"))
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path) == ENGINE.data


def test_a_full_disk_costs_the_cache_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path) == ENGINE.data
    assert "cannot be kept" in caplog.text
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_cache_that_cannot_be_had_costs_the_cache_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert cached_engine(TARGET, lambda: ENGINE, data, tmp_path / "file" / "cache") == ENGINE.data
    assert "for this process alone" in caplog.text


def build_slowly(folder: Path, log: Path, seconds: float) -> None:
    def build() -> EngineFile:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(seconds)
        return ENGINE

    assert cached_engine(TARGET, build, data, folder) == ENGINE.data


def wait_for(log: Path) -> None:
    end = time.monotonic() + 60
    while not log.exists() and time.monotonic() < end:
        time.sleep(0.02)


SPAWN = multiprocessing.get_context("spawn")


def test_of_two_processes_one_builds_and_the_other_waits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [
        SPAWN.Process(target=build_slowly, args=(tmp_path / "cache", log, seconds)) for seconds in (1.0, 1.0)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert log.read_text() == "built\n"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_process_killed_while_building_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "cache"
    process = SPAWN.Process(target=build_slowly, args=(folder, log, 600.0))
    process.start()
    wait_for(log)
    process.kill()
    process.join(60)
    assert not list(folder.glob("*.engine*"))
    assert cached_engine(TARGET, lambda: ENGINE, data, folder) == ENGINE.data


def test_whoever_holds_the_lock_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, folder = tmp_path / "log", tmp_path / "cache"
    process = SPAWN.Process(target=build_slowly, args=(folder, log, 600.0))
    process.start()
    wait_for(log)
    monkeypatch.setattr(engine_cache, "PATIENCE", 0.1)
    try:
        with pytest.raises(DeviceError, match=r"another process has held .*\.lock"):
            cached_engine(TARGET, never, data, folder)
    finally:
        process.kill()
        process.join(60)


def test_a_missing_engine_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileNotFoundError, match="raf-export"):
        EngineFile.read(tmp_path / "none.engine")


def test_a_half_written_temporary_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.engine"
    (tmp_path / "x.engine.tmp").write_bytes(b"half of an eng")
    ENGINE.write(path)
    assert EngineFile.read(path) == ENGINE
    assert [each.name for each in tmp_path.iterdir()] == ["x.engine"]
