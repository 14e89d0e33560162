"""What each pass of an artifact cost and gained, as the tables that a person reads and the document for a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..benchmarks.change import Change
from ..benchmarks.compare import Comparison
from ..benchmarks.figures import milliseconds, percent, points, significant, size, speed_up
from ..benchmarks.report import NOT_MEASURED, NOTHING, Measured
from ..passes.contract import Skip
from .leave_out import Bound


@dataclass(frozen=True)
class BuiltRow:
    """One artifact that was built, and what was measured of it; `seconds` are those of its steps, None: unknown."""

    name: str
    measured: Measured
    flips: float | None
    seconds: float | None
    steps: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One entry of `explain --json`'s builds."""
        evaluation, report = self.measured.evaluation, self.measured.latency
        return {
            "name": self.name,
            "accuracy": {"metric": evaluation.metric, "value": evaluation.value, "samples": evaluation.samples},
            "flips": self.flips,
            "latency_ns": None if report is None else {"p50": report.p50_ns, "p95": report.percentile_ns(95)},
            "bytes": self.measured.total_bytes,
            "macs": self.measured.macs,
            "parameters": self.measured.parameters,
            "seconds": self.seconds,
            "steps": list(self.steps),
        }


@dataclass(frozen=True)
class Worth:
    """One thing left out: what was built without it beside the artifact, which has it; or why nothing was.

    `accuracy` and `speed` are those of the artifact beside the other, None where there is no interval to be had.
    """

    key: str
    passes: tuple[str, ...]
    goes_too: tuple[str, ...] = ()
    without: BuiltRow | None = None
    accuracy: Change | None = None
    speed: Comparison | None = None
    why_not: str = ""
    is_failed: bool = False

    @property
    def name(self) -> str:
        """What is left out, as tables have it."""
        return " and ".join(self.passes)


@dataclass(frozen=True)
class Explanation:
    """The artifact, its float baseline, and the artifact again without each thing that the recipe asks for.

    `notes` say what a reader must know; `changed` why the artifact that was given is not what was built now.
    """

    target: str
    baseline: BuiltRow
    artifact: BuiltRow
    worths: tuple[Worth, ...]
    bound: tuple[Bound, ...]
    skips: tuple[Skip, ...]
    notes: tuple[str, ...] = ()
    changed: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether everything that could be built was."""
        return not any(worth.is_failed for worth in self.worths)

    def to_text(self) -> str:
        """Two tables: what was built, and what each pass is worth; then what could not be left out, and why."""
        metric = self.artifact.measured.evaluation.metric
        rows = [self.baseline, self.artifact, *(worth.without for worth in self.worths if worth.without is not None)]
        built = [(self.target, metric, "flips", "latency p50", "bytes", "minutes"), *(_built(row) for row in rows)]
        lines = _aligned(built, ">")
        worths = [worth for worth in self.worths if worth.without is not None]
        if worths:
            heading = ("with it", metric, "flips", "latency", "bytes", "minutes")
            lines += ["", *_aligned([heading, *(self._worth(worth) for worth in worths)], "<")]
        return "\n".join([*lines, "", *self._remarks()]).rstrip() + "\n"

    def to_json(self) -> dict[str, Any]:
        """The document of `explain --json`."""
        rows = [self.baseline, self.artifact, *(worth.without for worth in self.worths if worth.without is not None)]
        return {
            "schema": 1,
            "target": self.target,
            "builds": [row.to_json() for row in rows],
            "passes": [self._worth_json(worth) for worth in self.worths],
            "bound": [{"pass": each.name, "why": each.why} for each in self.bound],
            "skips": [{"what": skip.what, "why": skip.why} for skip in self.skips],
            "notes": list(self.notes),
            "changed": self.changed or None,
        }

    def _worth(self, worth: Worth) -> tuple[str, ...]:
        other = worth.without
        if other is None:
            return (worth.name, *[NOTHING] * 5)
        own, its = self.artifact.measured, other.measured
        return (
            worth.name,
            _accuracy(worth, own, its),
            _difference(self.artifact.flips, other.flips, lambda found: points(found, own.evaluation.samples)),
            NOT_MEASURED if worth.speed is None else speed_up(worth.speed),
            _times(its.total_bytes, own.total_bytes),
            _difference(self.artifact.seconds, other.seconds, lambda found: f"{found / 60 + 0.0:+.1f}"),
        )

    def _worth_json(self, worth: Worth) -> dict[str, Any]:
        document: dict[str, Any] = {"key": worth.key, "passes": list(worth.passes), "goes_too": list(worth.goes_too)}
        other = worth.without
        if other is None:
            return {**document, "without": None, "why_not": worth.why_not, "failed": worth.is_failed}
        own, its, speed = self.artifact.measured, other.measured, worth.speed
        ratio = speed and {"ratio": speed.ratio, "low": speed.low, "high": speed.high, "verdict": speed.verdict}
        plain = {"difference": own.evaluation.value - its.evaluation.value, "verdict": None}
        return {
            **document,
            "without": other.name,
            "accuracy": plain if worth.accuracy is None else worth.accuracy.to_json(),
            "flips": _minus(self.artifact.flips, other.flips),
            "latency": ratio,
            "bytes": own.total_bytes - its.total_bytes,
            "seconds": _minus(self.artifact.seconds, other.seconds),
        }

    def _remarks(self) -> list[str]:
        lines = [f"note: {self.changed}"] if self.changed else []
        lines += [f"note: {note}" for note in self.notes]
        for worth in self.worths:
            if worth.goes_too:
                lines.append(f"without {worth.name} there is no {' and no '.join(worth.goes_too)}")
            if worth.why_not:
                lines.append(f"{'FAILED' if worth.is_failed else 'not built'}: without {worth.name}: {worth.why_not}")
        lines += [f"can't be left out alone: {each}" for each in self.bound]
        return lines + [f"skipped {skip}" for skip in self.skips]


def _built(row: BuiltRow) -> tuple[str, ...]:
    evaluation, report = row.measured.evaluation, row.measured.latency
    is_share = evaluation.predictions is not None
    value = percent(evaluation.value, evaluation.samples) if is_share else significant(evaluation.value, 4)
    return (
        row.name,
        value,
        NOTHING if row.flips is None else percent(row.flips, evaluation.samples),
        NOT_MEASURED if report is None else milliseconds(report.p50_ns),
        size(row.measured.total_bytes),
        NOTHING if row.seconds is None else f"{row.seconds / 60:.1f}",
    )


def _accuracy(worth: Worth, own: Measured, its: Measured) -> str:
    difference, samples = own.evaluation.value - its.evaluation.value, own.evaluation.samples
    if worth.accuracy is None:
        return f"{difference:+.3g}"
    low, high = (points(bound, samples).removesuffix(" points") for bound in (worth.accuracy.low, worth.accuracy.high))
    return f"{points(difference, samples)} ({low} to {high}): {worth.accuracy.verdict}"


def _times(before: float, after: float) -> str:
    ratio = before / after
    if f"{ratio:.2f}" == "1.00":
        return "the same"
    return f"{ratio:.2f}x smaller" if ratio >= 1 else f"{1 / ratio:.2f}x larger"


def _minus(own: float | None, other: float | None) -> float | None:
    return None if own is None or other is None else own - other


def _difference(own: float | None, other: float | None, show: Callable[[float], str]) -> str:
    found = _minus(own, other)
    return NOTHING if found is None else show(found)


def _aligned(rows: Sequence[Sequence[str]], side: str) -> list[str]:
    """One line for each row: the first column to the left, all others to the side."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    sides = "<" + side * (len(widths) - 1)
    lines = (
        "  ".join(f"{cell:{where}{width}}" for cell, where, width in zip(row, sides, widths, strict=True))
        for row in rows
    )
    return [line.rstrip() for line in lines]
