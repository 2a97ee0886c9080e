from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from raf_sdk._cli import main

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def block(language: str, heading: str) -> str:
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no {language} block under {heading!r}"
    return found[1]


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["example", "-o", "head.obj"]) == 0


@pytest.mark.usefixtures("head")
def test_the_python_example_runs_and_its_comments_are_true() -> None:
    names: dict[str, object] = {}
    exec(block("python", "From Python"), names)
    rig = names["rig"]
    assert len(rig.names) == 52  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType]
    assert Path("head.glb").is_file()
    assert Path("sheet.png").is_file()


def test_the_first_command_runs_after_its_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    install, *commands = block("sh", "Two commands").split(" && ")
    assert install == "pip install ."
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "raf"
        assert main(arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.glb", "head.obj", "sheet.png"]
