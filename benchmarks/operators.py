"""What each operator of an artifact takes, by a runtime's own profiler, and its part of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .figures import milliseconds


@dataclass(frozen=True)
class OperatorShare:
    """One operator: the median of what it took, and the part that is of the sum of all operators' medians."""

    name: str
    operator: str
    median_ns: float
    share: float


@dataclass(frozen=True)
class OperatorReport:
    """The operators of an artifact in the order in which they run. All times are with the profiler on."""

    artifact: str
    device: str
    runtime: str
    threads: int
    runs: int
    inference_median_ns: float
    operators: tuple[OperatorShare, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `profile --json`."""
        return {"schema": 1, "profiler": True, **asdict(self), "kinds": dict(self.kinds())}

    def kinds(self) -> tuple[tuple[str, float], ...]:
        """(operator, the part of the time that all of its kind take), the largest first."""
        parts: dict[str, float] = {}
        for each in self.operators:
            parts[each.operator] = parts.get(each.operator, 0.0) + each.share
        return tuple(sorted(parts.items(), key=lambda part: -part[1]))

    def to_text(self) -> str:
        """The operators as a table, and what the kinds of them take."""
        header = (
            f"{self.artifact} with the profiler on: {milliseconds(self.inference_median_ns)} an inference (median of"
            f" {self.runs}); without it one is faster: edgewright bench"
        )
        rows = [("operator", "kind", "median", "share")]
        rows += [
            (each.name, each.operator, f"{each.median_ns / 1e3:.0f} us", f"{100 * each.share:.1f} %")
            for each in self.operators
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        kinds = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in self.kinds())
        where = f"measured on {self.device}, {self.runtime}, {self.threads} thread{'s' if self.threads > 1 else ''}"
        return "\n".join([header, *lines, f"by kind: {kinds}", where]) + "\n"


def shares(operators: Sequence[tuple[str, str, Sequence[int]]]) -> tuple[OperatorShare, ...]:
    """Of (name, operator, nanoseconds in each run) the median of each and its part of all; no interruption counts."""
    from statistics import median

    medians = [median(samples) for _, _, samples in operators]
    total = sum(medians) or 1
    rows = zip(operators, medians, strict=True)
    return tuple(OperatorShare(name, kind, middle, middle / total) for (name, kind, _), middle in rows)
