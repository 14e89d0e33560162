"""Several ways of running an artifact as one table, and the ratios of those that differ in one thing alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .compare import Comparison
from .figures import milliseconds, quantity, speed_up
from .latency import LatencyReport
from .report import NOTHING, memory_text, percentile_text, place

ENGINE, SEPARATOR = "engine alone", ", "
OTHER = {"against": "the other"}
"""What a part of a name is called in a sentence."""


def side_by_side(
    reports: Mapping[str, LatencyReport],
    batches: Mapping[str, int],
    comparisons: Mapping[tuple[str, str], Comparison],
    title: str,
) -> str:
    """A line for each report, in plain characters; `batches` tells how many samples are in one of its inferences.

    Below it (other, base) that were taken in turns, what one sample of the time spans, and what ran it all.
    """
    has_engine = any(report.engine_rounds_ns for report in reports.values())
    has_batches = any(size > 1 for size in batches.values())
    header = ["", "p50", "p95", *_only(has_engine, f"{ENGINE} p50"), *_only(has_batches, "samples/s"), "load", "memory"]
    rows = [header]
    for name, report in reports.items():
        engine = NOTHING if report.engine_p50_ns is None else milliseconds(report.engine_p50_ns)
        rate = quantity(batches.get(name, 1) * 1e9 / max(report.p50_ns, 1))
        times = [milliseconds(report.p50_ns), percentile_text(report, 95)]
        more = [*_only(has_engine, engine), *_only(has_batches, rate)]
        rows.append([name, *times, *more, milliseconds(report.load_ns), memory_text(report)])
    ratios = [f"{_told(other, base)}: {speed_up(found)}" for (other, base), found in comparisons.items()]
    meanings = dict.fromkeys(report.meaning for report in reports.values())
    timed = [f"p50 and p95 are of {meaning}" for meaning in meanings]
    timed += _only(has_engine, f"{ENGINE}: the same inferences by CUDA events, without the copies")
    places = dict.fromkeys(place(report) for report in reports.values())
    unsteady = [f"{name} was not steady when it was timed" for name, report in reports.items() if not report.is_steady]
    return "\n".join([title, *_aligned(rows), *ratios, *timed, *_engines(reports), *places, *unsteady]) + "\n"


def _only(is_wanted: bool, text: str) -> list[str]:
    return [text] if is_wanted else []


def _told(other: str, base: str) -> str:
    """The pair, by what differs: what both are is told once."""
    mine, theirs = other.split(SEPARATOR), base.split(SEPARATOR)
    both = SEPARATOR.join(part for part in mine if part in theirs)
    left = SEPARATOR.join(part for part in mine if part not in theirs)
    right = SEPARATOR.join(OTHER.get(part, part) for part in theirs if part not in mine) or "none"
    return f"{both}: {left} against {right}" if both else f"{left} against {right}"


def _engines(reports: Mapping[str, LatencyReport]) -> list[str]:
    """What was built first of each model: how many layers, how many of the model's in INT8, and in what time."""
    lines: dict[str, str] = {}
    for name, report in reports.items():
        model = name.partition(SEPARATOR)[0]
        if (engine := report.identity.get("engine")) and model not in lines:
            cache = f"built in {engine['build_seconds']:.3g} s, timing cache {engine['timing_cache']}"
            lines[model] = (
                f"{model}: {engine['layers']} layers, {engine['int8_layers']} of the model's in INT8, {cache}"
            )
    return list(lines.values())


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line for each row: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
