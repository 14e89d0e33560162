"""Medians and shares of operators, as text and as JSON."""

from __future__ import annotations

import json

import pytest
from edgewright.benchmarks.operators import OperatorReport, OperatorShare, shares


def test_shares_are_of_the_medians_so_that_one_interruption_counts_for_nothing() -> None:
    found = shares([("a", "Conv", [30, 31, 9_000]), ("b", "Add", [10, 10, 10]), ("c", "Conv", [59, 59, 59])])
    assert [each.median_ns for each in found] == [31, 10, 59]
    assert [each.share for each in found] == pytest.approx([0.31, 0.1, 0.59])
    assert shares([]) == ()


def test_a_report_says_that_the_profiler_was_on_and_sums_the_kinds() -> None:
    operators = shares([("a", "Conv", [30_000]), ("b", "Add", [10_000]), ("c", "Conv", [60_000])])
    report = OperatorReport("mine", "local (a processor)", "trial 1", 1, 7, 120_000.0, operators)
    lines = report.to_text().splitlines()
    assert lines[0].startswith("mine with the profiler on: 0.120 ms an inference (median of 7); without it")
    assert lines[2].split() == ["a", "Conv", "30", "us", "30.0", "%"]
    assert lines[-2:] == [
        "by kind: Conv 90.0 %, Add 10.0 %",
        "measured on local (a processor), trial 1, 1 thread",
    ]
    document = json.loads(json.dumps(report.to_json()))
    assert document["profiler"] is True
    assert document["kinds"] == pytest.approx({"Conv": 0.9, "Add": 0.1})
    assert OperatorShare(**document["operators"][1]) == operators[1]
