"""What a build measured, as the table that a person reads and the document that a program reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .accuracy import Evaluation, Parity, flips
from .compare import Comparison
from .figures import milliseconds, percent, points, quantity, significant, size, speed_up
from .latency import LatencyReport

if TYPE_CHECKING:
    from rich.table import Table

    from ..runtimes.contract import Coverage

NOTHING, NOT_MEASURED = "-", "not measured"
SHOWN_LAYERS = 8
"""How many layers that stayed in float are named before the rest is only counted."""


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of one artifact in its runtime; `is_reused` says that an earlier build did it.

    Without a latency nothing was timed: another runtime stood in for the artifact's own.
    """

    evaluation: Evaluation
    latency: LatencyReport | None
    total_bytes: int
    macs: int
    parameters: int
    coverage: Coverage
    is_reused: bool = False
    compressed_bytes: int | None = None
    """What zlib makes of its files: zeros that were pruned one by one show here, and nowhere else."""
    entropy_coded: tuple[int, int] | None = None
    """What its shared weights take as floats, and as codebooks with Huffman's code of their indices, in bytes."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what it is about, the baseline, the artifact, and what that means."""

    label: str
    baseline: str
    artifact: str
    change: str = ""


@dataclass(frozen=True)
class Summary:
    """A float baseline and the artifact that was made of the same network, side by side.

    `reference` is the runtime that stood in for the artifacts' own, where that could not run; then nothing was timed.
    """

    target: str
    baseline: Measured
    artifact: Measured
    comparison: Comparison | None
    parity: Parity | None = None
    reference: str = ""

    @property
    def flips(self) -> float | None:
        """The share of samples that the artifact answers differently; None where the task has no classes."""
        return flips(self.baseline.evaluation, self.artifact.evaluation)

    def rows(self) -> tuple[Row, ...]:
        """The lines of the table."""
        before, after = self.baseline, self.artifact
        share = self.flips
        flipped = () if share is None else (Row("prediction flips", "", percent(share, after.evaluation.samples)),)
        return (
            *_metric_rows(before.evaluation, after.evaluation),
            *flipped,
            *self._latency_rows(),
            self._row("artifact", lambda each: size(each.total_bytes), _less(before.total_bytes, after.total_bytes)),
            *_compressed_rows(before.compressed_bytes, after.compressed_bytes),
            *_entropy_rows(after.entropy_coded),
            *_timed_rows(before.latency, after.latency),
            self._row("MACs", lambda each: quantity(each.macs), _less(before.macs, after.macs)),
            self._row("parameters", lambda each: quantity(each.parameters), _less(before.parameters, after.parameters)),
            self._row("layers in INT8", lambda each: f"{each.coverage.quantized} of {each.coverage.eligible}"),
            *(() if self.parity is None else (_parity_row(self.parity),)),
        )

    def remarks(self) -> tuple[str, ...]:
        """What the numbers mean and where they end, said plainly."""
        lines = self._timing_remarks()
        lines += [
            f"the {name}'s numbers are an earlier build's: nothing changed since"
            for name, each in self._both()
            if each.is_reused
        ]
        left = self.artifact.coverage.left
        lines += [f"in float: {layer}: {why}" for layer, why in left[:SHOWN_LAYERS]]
        if len(left) > SHOWN_LAYERS:
            lines.append(f"in float: {len(left) - SHOWN_LAYERS} layers more")
        return tuple(lines)

    def to_text(self) -> str:
        """The table and the remarks in plain characters."""
        heading = Row(self.target, "float baseline", "artifact")
        rows = [(row.label, row.baseline, row.artifact, row.change) for row in (heading, *self.rows())]
        return "\n".join([*_aligned(rows), *self.remarks()]) + "\n"

    def to_rich(self) -> Table:
        """The table for a terminal; the remarks are its caption."""
        from rich.table import Table

        table = Table(title=self.target, caption="\n".join(self.remarks()), caption_justify="left")
        table.add_column("")
        for heading in ("float baseline", "artifact"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for row in self.rows():
            table.add_row(row.label, row.baseline, row.artifact, row.change)
        return table

    def to_json(self) -> dict[str, Any]:
        """The measured part of one result of `build --json`."""
        before, after = self.baseline, self.artifact
        evaluation = after.evaluation
        return {
            "accuracy": {
                "metric": evaluation.metric,
                "baseline": before.evaluation.value,
                "artifact": evaluation.value,
                "flips": self.flips,
                "samples": evaluation.samples,
            },
            "latency_ns": {
                **{name: _percentiles(each.latency) for name, each in self._both()},
                **_compared(after.latency, self.comparison),
            },
            "bytes": {name: each.total_bytes for name, each in self._both()},
            "compressed_bytes": {name: each.compressed_bytes for name, each in self._both()},
            "entropy_coded_bytes": None if after.entropy_coded is None else after.entropy_coded[1],
            "peak_rss_bytes": {
                name: None if each.latency is None else each.latency.peak_rss_bytes for name, each in self._both()
            },
            "reference_runtime": self.reference or None,
            "macs": {name: each.macs for name, each in self._both()},
            "parameters": {name: each.parameters for name, each in self._both()},
            "int8_coverage": {"quantized": after.coverage.quantized, "eligible": after.coverage.eligible},
            "parity_steps": None if self.parity is None else self.parity.largest_steps,
        }

    def _latency_rows(self) -> Sequence[Row]:
        before, after = self.baseline.latency, self.artifact.latency
        if before is None or after is None or self.comparison is None:
            return (Row("latency", NOT_MEASURED, NOT_MEASURED),)
        return _latency_rows(before, after, speed_up(self.comparison))

    def _timing_remarks(self) -> list[str]:
        """What the latencies mean, or why there are none."""
        after, found = self.artifact.latency, self.comparison
        if after is None or found is None:
            said = f"accuracy and parity are those of {self.reference}: a reference runtime, not the target's"
            return [said, "latency was not measured: edgewright bench measures it where the target's runtime is"]
        lines = [f"{place(after)}, {len(after.samples_ns)} runs each, in turns"]
        if found.verdict == "slower":
            lines.append(f"the artifact is SLOWER than float: {speed_up(found)}")
        if found.verdict == "cannot tell":
            lines.append("whether the artifact is faster than float cannot be told from these samples")
        unsteady = [name for name, each in self._both() if each.latency is not None and not each.latency.is_steady]
        return [*lines, *(f"the {name} was not steady when it was timed" for name in unsteady)]

    def _row(self, label: str, show: Callable[[Measured], str], change: str = "") -> Row:
        return Row(label, show(self.baseline), show(self.artifact), change)

    def _both(self) -> tuple[tuple[str, Measured], tuple[str, Measured]]:
        return (("baseline", self.baseline), ("artifact", self.artifact))


def latency_text(reports: Mapping[str, LatencyReport]) -> str:
    """What was timed, one column for each report, in plain characters."""
    shown = list(reports.values())
    rows = [("", *reports), ("latency p50", *(milliseconds(report.p50_ns) for report in shown))]
    rows += [
        (f"latency p{percentile}", *(percentile_text(report, percentile) for report in shown))
        for percentile in (95, 99)
    ]
    rows += [
        ("first inference", *(milliseconds(report.first_inference_ns) for report in shown)),
        ("load", *(milliseconds(report.load_ns) for report in shown)),
        ("peak memory", *(memory_text(report) for report in shown)),
        ("samples", *(str(len(report.samples_ns)) for report in shown)),
    ]
    unsteady = [f"{name} was not steady when it was timed" for name, report in reports.items() if not report.is_steady]
    return "\n".join([*_aligned(rows), place(shown[0]), *unsteady]) + "\n"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line for each row: the first column to the left, those with numbers to the right, a fourth as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, "<>><"[: len(row)], widths, strict=True))
        for row in rows
    )
    return [line.rstrip() for line in lines]


def place(report: LatencyReport) -> str:
    """What ran the artifact."""
    identity = report.identity
    threads = f"{identity['threads']} thread{'s' if identity['threads'] != 1 else ''}"
    processor, by = identity["cpu"], threads
    if identity.get("gpu"):
        processor, by = f"{identity['gpu']} beside {processor}", f"a driver with CUDA {identity['driver_cuda']}"
    return f"measured on {report.device} ({processor}), {identity['runtime']} {identity['runtime_version']}, {by}"


def percentile_text(report: LatencyReport, percentile: float) -> str:
    value_ns = report.percentile_ns(percentile)
    return NOTHING if value_ns is None else milliseconds(value_ns)


def memory_text(report: LatencyReport) -> str:
    return NOTHING if report.peak_rss_bytes is None else size(report.peak_rss_bytes)


def _metric_rows(before: Evaluation, after: Evaluation) -> Sequence[Row]:
    rows = []
    for (name, old), (_, new) in zip(before.metrics, after.metrics, strict=True):
        if before.predictions is None:
            rows.append(Row(name, significant(old, 4), significant(new, 4), f"{new - old:+.3g}"))
        else:
            texts = percent(old, before.samples), percent(new, after.samples)
            rows.append(Row(name, *texts, points(new - old, after.samples)))
    return rows


def _latency_rows(before: LatencyReport, after: LatencyReport, change: str) -> Sequence[Row]:
    rows = [Row("latency p50", milliseconds(before.p50_ns), milliseconds(after.p50_ns), change)]
    for percentile in (95, 99):
        old, new = percentile_text(before, percentile), percentile_text(after, percentile)
        rows.append(Row(f"latency p{percentile}", old, new, "too few samples" if NOTHING in (old, new) else ""))
    return rows


def _compressed_rows(before: int | None, after: int | None) -> Sequence[Row]:
    if before is None or after is None:
        return ()
    return (Row("artifact, by zlib", size(before), size(after), _less(before, after)),)


def _entropy_rows(sizes: tuple[int, int] | None) -> Sequence[Row]:
    return () if sizes is None else (Row("shared weights, coded", size(sizes[0]), size(sizes[1]), _less(*sizes)),)


def _timed_rows(before: LatencyReport | None, after: LatencyReport | None) -> Sequence[Row]:
    if before is None or after is None:
        return ()
    return (
        _memory_row(before, after),
        Row("load", milliseconds(before.load_ns), milliseconds(after.load_ns)),
        Row("first inference", milliseconds(before.first_inference_ns), milliseconds(after.first_inference_ns)),
    )


def _memory_row(before: LatencyReport, after: LatencyReport) -> Row:
    own = after.rss_before_load_bytes
    return Row(
        "peak memory",
        memory_text(before),
        memory_text(after),
        "" if own is None else f"{size(own)} of it before loading",
    )


def _parity_row(parity: Parity) -> Row:
    change = f"{100 * parity.within_one_step:.2f} % within one"
    return Row("parity with simulation", "", f"{significant(parity.largest_steps, 2)} steps at most", change)


def _less(before: float, after: float) -> str:
    """How many times smaller; silent where there is no difference worth a word."""
    if min(before, after) <= 0 or abs(before - after) < 0.01 * before:
        return ""
    return f"{before / after:.1f}x smaller" if after < before else f"{after / before:.1f}x larger"


def _percentiles(report: LatencyReport | None) -> dict[str, int | None]:
    if report is None:
        return {"p50": None, "p95": None, "p99": None}
    return {"p50": report.p50_ns, "p95": report.percentile_ns(95), "p99": report.percentile_ns(99)}


def _compared(report: LatencyReport | None, found: Comparison | None) -> dict[str, Any]:
    if report is None or found is None:
        return {"threads": None, "ratio": None, "verdict": NOT_MEASURED}
    ratio = {"median": found.ratio, "low": found.low, "high": found.high}
    return {"threads": report.identity["threads"], "ratio": ratio, "verdict": found.verdict}
