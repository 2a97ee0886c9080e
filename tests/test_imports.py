from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# What only training and export may load, and what the rigger loads when it is first used.
TRAINING_ONLY = ("torch", "onnx", "onnxscript", "safetensors", "raf_training", "raf_export")
LATE = ("scipy", "onnxruntime", "trimesh", "PIL")


def loaded_after(statements: str, folder: Path) -> set[str]:
    """Top-level modules that a fresh interpreter, which looks into a folder first, has loaded in the end."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); {statements}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    return {name.partition(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize("module", ["raf_sdk", "raf_sdk._cli", "raf_sdk.io"])
def test_importing_the_sdk_is_light(module: str, tmp_path: Path) -> None:
    assert loaded_after(f"import {module}", tmp_path).isdisjoint({*TRAINING_ONLY, *LATE})


def test_rigging_loads_no_torch(tmp_path: Path) -> None:
    example = "Path(raf_sdk.__file__).with_name('data') / 'example_head.obj'"
    loaded = loaded_after(
        f"import raf_sdk; from pathlib import Path; raf_sdk.Rigger().rig({example}).preview('sheet.png')",
        tmp_path,
    )
    assert "onnxruntime" in loaded
    assert loaded.isdisjoint({*TRAINING_ONLY, "trimesh"})


def test_the_check_sees_a_module_that_something_imports(tmp_path: Path) -> None:
    (tmp_path / "torch.py").touch()
    (tmp_path / "onnxruntime.py").write_text("import torch")
    assert "torch" in loaded_after("import onnxruntime, raf_sdk", tmp_path)
