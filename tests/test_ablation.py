"""benchmarks/ablation.py: every row leaves out what its name says, and nothing else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raf_training.network import CONFIGS
from raf_training.stages.config import STAGES

if TYPE_CHECKING:
    from benchmarks.ablation import ONLY_3D, PAPER, Row, markdown, rows
else:
    sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package that is installed
    from ablation import ONLY_3D, PAPER, Row, markdown, rows

FIRST, SECOND = (replace(STAGES["small"][stage], most_steps=100 * stage) for stage in (1, 2))


def test_rows_leave_out_what_they_say() -> None:
    by_name = {row.name: row for row in rows(FIRST, SECOND)}
    assert by_name.keys() == PAPER.keys()
    full = by_name["full"]
    assert full == Row("full", FIRST, SECOND)

    def back(name: str, **changes: Any) -> Row:
        return replace(by_name[name], name="full", **changes)

    assert back("without unrigged heads", unrigged=True) == full and full.unrigged
    no_flow = by_name["without 2D displacement"].first
    assert no_flow and no_flow.weights == replace(FIRST.weights, displacement_2d=0.0)
    assert back("without 2D displacement", first=FIRST) == full
    for stage in (by_name["without global encoder"].first, by_name["without global encoder"].second):
        assert stage and stage.network == replace(CONFIGS["small"], encoder_blocks=0)
    blind = by_name["without 2D losses"]
    # As many steps in all, from scratch.
    assert blind.first is None and blind.second == replace(SECOND, weights=ONLY_3D, most_steps=300)


def test_the_table_sets_the_papers_figures_beside_ours() -> None:
    figures = {"mae": 1.0, "q95": 2.0, "ratio": 0.5, "cosine": 0.9, "seconds": 0.25}
    about = {"steps": [100, 200], "seconds": 12.3, "parameters": 5_400_000, "scaled": 0.4}
    result = {**about, "families": {"all": figures}}
    table = markdown([{"name": "full", **result}, {"name": "network `default`", **result, "steps": [0, 7]}])
    _, _, full, other = table.splitlines()
    assert (
        full
        == "| full | 100 + 200 | 12 | 5.40 M | 0.25 | 1.000 | 2.000 | 0.500 | 0.400 | 0.900 | 1.92 | 5.63 |"
    )
    assert other.startswith("| network `default` | 7 |") and other.endswith("| 0.900 |  |  |")
