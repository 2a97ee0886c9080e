"""Tests that need something this machine may lack are skipped, and the summary says why."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@cache
def _cuda_missing() -> bool:
    import torch

    return not torch.cuda.is_available()


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what `raf` caches out of the user's folder, also in processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs the training archives: ../shared/data is missing"))
        if item.get_closest_marker("gpu") and _cuda_missing():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device: torch.cuda finds none"))
