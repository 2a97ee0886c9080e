"""`raf-train evaluate`: figures of rigs whose error is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor

from raf_training.checkpoint import save_weights
from raf_training.cli import main
from raf_training.dataset import SampleFolder
from raf_training.evaluate import MOVING, UNIT, evaluate
from raf_training.losses.displacement import on_open_jaw
from raf_training.network import CONFIGS, RigNetwork, SurfaceTensors

if TYPE_CHECKING:
    from tests.stage_heads import write_samples
else:
    sys.path.append(str(Path(__file__).parent))  # tests are no package
    from stage_heads import write_samples


@pytest.fixture
def heads(tmp_path: Path) -> SampleFolder:
    return SampleFolder(write_samples(tmp_path / "val", range(2)))


def test_figures_are_those_of_keeping_every_error(
    heads: SampleFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, random = [heads[0], heads[1]], torch.Generator().manual_seed(1)
    noise = [0.05 * torch.randn(sample.deltas.shape, generator=random) for sample in samples]
    answers = iter([sample.deltas + n for sample, n in zip(samples, noise, strict=True)])

    def answer(_network: RigNetwork, _surface: SurfaceTensors) -> Tensor:
        return next(answers)

    monkeypatch.setattr("raf_training.evaluate.predict_rig", answer)
    found = evaluate(RigNetwork(CONFIGS["small"]), heads, torch.device("cpu"))
    errors, motions, cosines = list[float](), list[float](), list[float]()
    for sample, n in zip(samples, noise, strict=True):
        for row in sample.mask.nonzero()[:, 0].tolist():
            truth = UNIT * on_open_jaw(sample.deltas)[row].double().numpy()
            guess = UNIT * on_open_jaw(sample.deltas + n)[row].double().numpy()
            cosines.append(float((truth * guess).sum() / np.linalg.norm(truth) / np.linalg.norm(guess)))
            for a, b in zip(guess, truth, strict=True):
                if np.linalg.norm(b) > MOVING:
                    errors.append(float(np.linalg.norm(a - b)))
                    motions.append(float(np.linalg.norm(b)))
    assert found.keys() == {"egg", "all"}
    egg = found["egg"]
    assert egg.heads == 2
    assert egg.mae == pytest.approx(np.mean(errors), rel=1e-4)
    assert egg.q95 == pytest.approx(np.quantile(errors, 0.95), rel=1e-4)
    assert egg.ratio == pytest.approx(sum(errors) / sum(motions), rel=1e-4)
    assert egg.cosine == pytest.approx(np.mean(cosines), rel=1e-4)


@pytest.mark.parametrize("name", ["default", "small"])
def test_the_command_measures_either_kind_of_network(
    heads: SampleFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    network = RigNetwork(CONFIGS[name])
    weights, report = tmp_path / "weights.safetensors", tmp_path / "report.json"
    save_weights(weights, network.state_dict(), network.config, {})
    folder = str(heads.paths[0].parent)
    assert main(["evaluate", "--weights", str(weights), "--val", folder, "--json", str(report)]) == 0
    # A new network moves nothing.
    assert "egg             2" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert figures["families"]["egg"]["ratio"] == pytest.approx(1)
    assert figures["parameters"] == sum(value.numel() for value in network.parameters())


def test_weights_that_are_none_are_named(
    heads: SampleFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(heads.paths[0].parent)
    assert main(["evaluate", "--weights", str(tmp_path / "none"), "--val", folder]) == 2
    assert capsys.readouterr().err.startswith("raf-train: ")
