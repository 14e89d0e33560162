"""Budgets: each held against the number that it is about, in the recipe's units."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from edgewright.benchmarks.accuracy import Evaluation
from edgewright.benchmarks.compare import compare
from edgewright.benchmarks.latency import LatencyReport
from edgewright.benchmarks.report import Measured, Summary
from edgewright.pipeline.budget import MEASURE, Verdict, accuracy_drop_points, verdicts
from edgewright.recipe.schema import Budget
from edgewright.runtimes import Coverage

EVERY = {
    "accuracy_drop_points": 1.0, "flips_percent": 2.0, "latency_p50_ms": 1.0, "latency_p95_ms": 1.2,
    "artifact_kib": 100.0, "peak_memory_mib": 64.0,
}  # fmt: skip


def report(samples_ms: Any, **fields: Any) -> LatencyReport:
    rounds = tuple(tuple(int(sample * 1e6) for sample in block) for block in np.atleast_2d(samples_ms))
    values = {
        "warm_up_runs": 10, "is_steady": True, "meaning": "one run", "device": "local", "identity": {}, "session": "s",
        "load_ns": 1, "first_inference_ns": 1, "peak_rss_bytes": 32 << 20, "rss_before_load_bytes": 1, **fields,
    }  # fmt: skip
    return LatencyReport(rounds, **values)


def measured(top1: float, latency: LatencyReport, total_bytes: int, wrong: int = 0) -> Measured:
    predictions = np.where(np.arange(1000) < wrong, 1, 0)
    evaluation = Evaluation((("top1", top1),), 1000, True, predictions)
    return Measured(evaluation, latency, total_bytes, 1, 1, Coverage(1, 1))


@pytest.fixture
def summary() -> Summary:
    """Accuracy 90.0 to 89.5 %, 1.5 % flips, p50 0.8 ms, p95 1.0 ms, 50 KiB, 32 MiB."""
    samples = np.full((30, 30), 0.8)
    samples[:, :3] = 1.0
    before, after = report(samples * 2), report(samples)
    baseline, artifact = measured(0.9, before, 200 << 10), measured(0.895, after, 50 << 10, wrong=15)
    return Summary("x86-avx2", baseline, artifact, compare(before, after))


def test_every_budget_is_held_against_its_number(summary: Summary) -> None:
    found = {verdict.key: verdict for verdict in verdicts(Budget(**EVERY), summary)}
    assert {key: verdict.found for key, verdict in found.items()} == pytest.approx(
        {
            "accuracy_drop_points": 0.5, "flips_percent": 1.5, "latency_p50_ms": 0.8, "latency_p95_ms": 1.0,
            "artifact_kib": 50.0, "peak_memory_mib": 32.0,
        }
    )  # fmt: skip
    assert all(verdict.is_met for verdict in found.values())


@pytest.mark.parametrize("key", EVERY)
def test_each_can_be_missed_alone(key: str, summary: Summary) -> None:
    (verdict,) = verdicts(Budget(**{key: 0.01}), summary)
    assert not verdict.is_met
    assert str(verdict).startswith(f"budget.{key}: MISSED: ")
    assert str(verdict).endswith(" over")


def test_what_the_recipe_does_not_limit_has_no_verdict(summary: Summary) -> None:
    assert verdicts(Budget(), summary) == ()


def test_what_could_not_be_measured_is_not_met(summary: Summary) -> None:
    few = report([[0.8] * 30], peak_rss_bytes=None)
    evaluation = Evaluation((("mae", 0.5),), 1000, False)
    blind = replace(summary, artifact=replace(summary.artifact, latency=few, evaluation=evaluation))
    limits = {key: EVERY[key] for key in ("flips_percent", "latency_p95_ms", "peak_memory_mib")}
    for verdict in verdicts(Budget(**limits), blind):
        assert verdict.found is None
        assert not verdict.is_met
        assert str(verdict).endswith("allowed, but it could not be measured here")


def test_what_the_targets_runtime_alone_could_measure_is_not_met_and_says_who_can(summary: Summary) -> None:
    untimed = replace(summary, artifact=replace(summary.artifact, latency=None), comparison=None)
    found = {verdict.key: verdict for verdict in verdicts(Budget(**EVERY), untimed, "elsewhere")}
    unknown = {key for key, verdict in found.items() if verdict.open}
    assert unknown == {"latency_p50_ms", "latency_p95_ms", "peak_memory_mib"}
    assert not any(found[key].is_met for key in unknown)
    assert all(verdict.is_met for key, verdict in found.items() if key not in unknown)
    assert str(found["latency_p95_ms"]) == f"budget.latency_p95_ms: NOT MEASURED: 1.2 allowed; {MEASURE}"
    (verdict,) = verdicts(Budget(artifact_kib=1.0), untimed)
    assert not verdict.is_met


def test_a_limit_that_is_met_exactly_is_met() -> None:
    assert Verdict("artifact_kib", 50.0, 50.0).is_met
    assert not Verdict("artifact_kib", 50.0, float("nan")).is_met


def test_messages_give_found_limit_and_excess() -> None:
    assert str(Verdict("latency_p95_ms", 2.0, 1.5)) == "budget.latency_p95_ms: met: 1.5 of 2"
    assert str(Verdict("latency_p95_ms", 2.0, 2.5)) == (
        "budget.latency_p95_ms: MISSED: 2.5 where 2 is allowed, 0.5 over"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "is_higher_better", "points"),
    [(0.9, 0.88, True, 2.0), (0.88, 0.9, True, -2.0), (2.0, 2.5, False, 25.0), (2.0, 1.5, False, -25.0)],
)
def test_worse_is_positive_for_shares_and_for_errors(
    before: float, after: float, is_higher_better: bool, points: float, summary: Summary
) -> None:
    sides = [
        replace(side, evaluation=Evaluation((("metric", value),), 1000, is_higher_better))
        for side, value in ((summary.baseline, before), (summary.artifact, after))
    ]
    assert accuracy_drop_points(replace(summary, baseline=sides[0], artifact=sides[1])) == pytest.approx(points)


def test_a_number_of_another_machine_says_so() -> None:
    here = "measured on this machine, which is not arm-cortex-m"
    found = Verdict("latency_p95_ms", 2.0, 1.0, where=here)
    assert str(found) == f"budget.latency_p95_ms: met: 1 of 2 ({here})"
    assert str(Verdict("micro.arena_kib", 256, 300.5, "target")) == (
        "target.micro.arena_kib: MISSED: 300.5 where 256 is allowed, 44.5 over"
    )


def test_a_drop_of_all_that_is_allowed_is_met(summary: Summary) -> None:
    """Six samples of 600: 595 / 600 - 589 / 600 is a hundredth and a little more in binary fractions."""
    before, after = (replace(summary.baseline.evaluation, metrics=(("top1", right / 600),)) for right in (595, 589))
    sides = replace(summary.baseline, evaluation=before), replace(summary.artifact, evaluation=after)
    assert 100 * (before.value - after.value) > 1
    (found,) = verdicts(Budget(accuracy_drop_points=1.0), replace(summary, baseline=sides[0], artifact=sides[1]))
    assert found.is_met
