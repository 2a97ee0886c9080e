"""What was checked, what came out, and how that reads as a table or as JSON."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bar", "Check", "Report", "Verdict"]

Verdict = Literal["pass", "fail", "not applicable"]

_WIDTH: Final = 112


@dataclass(frozen=True, slots=True)
class Bar:
    """The interval that a figure must lie in.

    Attributes
    ----------
    unit
        What the figure counts, such as ``"% of the aperture"``.
    low, high
        The ends, both included; None where there is none.
    """

    unit: str
    low: float | None = None
    high: float | None = None

    def holds(self, figure: float) -> bool:
        """Whether a figure is in the interval; one that is not a number is not."""
        above = self.low is None or figure >= self.low
        return above and (self.high is None or figure <= self.high) and figure == figure

    def strain(self, figure: float) -> float:
        """How near a figure is to the end of the interval: 1 is on it, more is outside."""
        if self.low is None or self.high is None:
            part = (figure, self.high) if self.low is None else (self.low, figure)
            return part[0] / part[1] if part[1] else math.inf * (part[0] > 0)
        return abs(2 * figure - self.low - self.high) / (self.high - self.low)

    def __str__(self) -> str:
        """In words: ``"at most 8 % of the aperture"``."""
        if self.low is None:
            return f"at most {self.high:g} {self.unit}"
        if self.high is None:
            return f"at least {self.low:g} {self.unit}"
        return f"{self.low:g} to {self.high:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Check:
    """One question about one shape, or a few together, and its answer.

    Attributes
    ----------
    name
        The question, such as ``"blink closes"``; many shapes may be asked the same one.
    shapes
        ARKit names of the shapes concerned.
    figure
        What was measured, None where nothing could be.
    bar
        What the figure is compared with, and its unit; None where there is no figure.
    verdict
        ``"pass"``, ``"fail"``, or ``"not applicable"`` where this head cannot be asked.
    reason
        A sentence: what the figure says, or why there is none.
    """

    name: str
    shapes: tuple[str, ...]
    figure: float | None
    bar: Bar | None
    verdict: Verdict
    reason: str

    @classmethod
    def judged(cls, name: str, shapes: Sequence[str], figure: float, bar: Bar, good: str, bad: str) -> Check:
        """Compare a figure with its bar; ``good`` or ``bad`` becomes the reason."""
        holds = bar.holds(figure)
        return cls(
            name, tuple(shapes), float(figure), bar, "pass" if holds else "fail", good if holds else bad
        )

    @classmethod
    def unasked(cls, name: str, shapes: Sequence[str], why: str) -> Check:
        """Say why a question cannot be asked."""
        return cls(name, tuple(shapes), None, None, "not applicable", why)


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of a rig; printed, it is a table.

    Attributes
    ----------
    checks
        In a fixed order: by question, then by shape.
    """

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def flaws(self) -> dict[str, str]:
        """ARKit name of each shape that failed a check -> the names of those checks."""
        flaws: dict[str, list[str]] = {}
        for check in self.failures:
            for shape in check.shapes:
                flaws.setdefault(shape, []).append(check.name)
        return {shape: ", ".join(dict.fromkeys(names)) for shape, names in flaws.items()}

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.verdict == "fail")

    def as_dict(self) -> dict[str, Any]:
        """The report as plain lists, dicts, strings and numbers."""
        counts = {v: sum(check.verdict == v for check in self.checks) for v in _VERDICTS}
        return {"passed": self.passed, "counts": counts, "checks": [asdict(check) for check in self.checks]}

    def to_json(self) -> str:
        """The report as JSON text; a figure that is not finite is null."""
        content = self.as_dict()
        for check in content["checks"]:
            if check["figure"] is not None and not math.isfinite(check["figure"]):
                check["figure"] = None
        return json.dumps(content, indent=1, allow_nan=False)

    def __str__(self) -> str:
        """One line for each question, and under it one for each shape that failed."""
        names = list(dict.fromkeys(check.name for check in self.checks))
        width = max(map(len, names), default=0)
        lines = [f"{'check':{width}}  {'passed':>8}  worst"]
        lines.append("-" * _WIDTH)
        for name in names:
            lines += _lines(name, [check for check in self.checks if check.name == name], width)
        counts = [f"{sum(c.verdict == v for c in self.checks)} {_VERDICTS[v]}" for v in _VERDICTS]
        return "\n".join([*lines, "-" * _WIDTH, ", ".join(counts)])


_VERDICTS: Final[dict[Verdict, str]] = {
    "pass": "passed",
    "fail": "failed",
    "not applicable": "not applicable",
}


def _lines(name: str, checks: list[Check], width: int) -> list[str]:
    asked = [check for check in checks if check.verdict != "not applicable"]
    good = sum(check.verdict == "pass" for check in asked)
    indent = " " * (width + 12)
    if not asked:
        text = textwrap.wrap(f"not applicable: {checks[0].reason}", _WIDTH - len(indent))
        return [f"{name:{width}}  {'-':>8}  {text[0]}", *(indent + line for line in text[1:])]
    worst = max(asked, key=_strain)
    lines = [f"{name:{width}}  {f'{good}/{len(asked)}':>8}  {_said(worst)}"]
    for check in asked:
        if check.verdict == "fail" and check is not worst:
            lines += textwrap.wrap(_said(check), _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return lines


def _strain(check: Check) -> float:
    return check.bar.strain(check.figure) if check.bar and check.figure is not None else -math.inf


def _said(check: Check) -> str:
    said = f"{' + '.join(check.shapes)}: {check.figure:.3g} ({check.bar})"
    return f"FAIL {said}; {check.reason}" if check.verdict == "fail" else said
