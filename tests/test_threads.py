from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import threadpoolctl

import raf_sdk
from raf_runtime import threads
from raf_runtime.backends.onnx_runtime import OnnxRuntimeBackend
from raf_runtime.threads import blas_on_one_thread, usable_cores

MODEL = Path(raf_sdk.__file__).parent / "data" / "model.onnx"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's description of the processor")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores of two threads each: 0 and 4, 1 and 5, ...; no limits."""
    for processor in range(8):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{processor % 4},{processor % 4 + 4}\n")
    monkeypatch.setattr(threads, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(threads, "_CONTROL_GROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    return tmp_path


@linux
def test_threads_of_one_core_count_once(machine: Path) -> None:
    assert usable_cores() == 4


@linux
@pytest.mark.parametrize(("allowed", "cores"), [({0, 4}, 1), ({0, 1}, 2), ({5, 6, 7, 3}, 3)])
def test_affinity_is_respected(
    machine: Path, allowed: set[int], cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed)
    assert usable_cores() == cores


@linux
@pytest.mark.parametrize(
    ("said", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 4)]
)
def test_the_time_of_a_container_is_respected(machine: Path, said: str, cores: int) -> None:
    (machine / "cpu.max").write_text(said + "\n")
    assert usable_cores() == cores


@linux
def test_without_a_description_every_processor_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_TOPOLOGY", machine / "nothing")
    assert usable_cores() == 8


def test_the_session_has_the_threads_that_are_asked_for() -> None:
    def threads_of(backend: OnnxRuntimeBackend) -> int:
        return backend._session.get_session_options().intra_op_num_threads

    assert threads_of(OnnxRuntimeBackend.open(MODEL, "cpu")) == usable_cores()
    assert threads_of(OnnxRuntimeBackend.open(MODEL, "cpu", 3)) == 3


def blas_threads() -> set[int]:
    return {
        library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"
    }


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if blas_threads() != {2}:
            pytest.skip("the BLAS of this machine is one whose threads cannot be set")
        yield


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_is_limited_and_given_back() -> None:
    with blas_on_one_thread():
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(ZeroDivisionError), blas_on_one_thread():
        _ = 1 / 0
    assert blas_threads() == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_users_that_overlap_leave_the_process_as_it_was() -> None:
    first, second = blas_on_one_thread(), blas_on_one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas_threads() == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == {2}
