from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import raf_sdk
from raf_runtime import errors

ROOT = Path(__file__).resolve().parents[1]


def test_the_public_surface_is_exactly_this() -> None:
    assert sorted(raf_sdk.__all__) == sorted(
        ["Mesh", "Report", "Rig", "Rigger", "__version__", *errors.__all__]
    )
    assert dir(raf_sdk) == sorted(raf_sdk.__all__)


@pytest.mark.parametrize("name", raf_sdk.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(raf_sdk, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Rigg"):
        _ = raf_sdk.Rigg  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_raf_error_and_a_builtin_one(name: str) -> None:
    error = getattr(raf_sdk, name)
    assert issubclass(error, raf_sdk.RafError)
    builtin = {base for base in error.__mro__ if base.__module__ == "builtins"}
    assert error is raf_sdk.RafError or builtin - {Exception, BaseException, object}


def test_the_commands_of_the_distribution_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for target in project["scripts"].values():
        module = target.partition(":")[0].replace(".", "/") + ".py"
        assert any((ROOT / folder / module).is_file() for folder in ("", "runtime", "export", "training")), (
            target
        )
