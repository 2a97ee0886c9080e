"""Tests that need something this machine may lack are skipped, and the summary says why."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@cache
def _cuda_missing() -> bool:
    import torch

    return not torch.cuda.is_available()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="needs the training archives: ../shared/data is missing"))
        if item.get_closest_marker("gpu") and _cuda_missing():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device: torch.cuda finds none"))
