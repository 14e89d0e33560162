"""Budgets: what the recipe allows, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..benchmarks.latency import LatencyReport
    from ..benchmarks.report import Summary
    from ..recipe.schema import Budget


@dataclass(frozen=True)
class Verdict:
    """One budget; `found` is None where the artifact could not be measured for it, and then it is not met.

    `of` is who sets it: the recipe's budget, or the target's hardware. `where` is said where the number is not the
    target's own. `open` says why it was not measured, and who can: a budget that nobody saw met fails the build, too.
    """

    key: str
    limit: float
    found: float | None
    of: str = "budget"
    where: str = ""
    open: str = ""

    @property
    def is_met(self) -> bool:
        """Whether what was found is within the limit."""
        return self.found is not None and self.found <= self.limit

    def __str__(self) -> str:
        return f"{self._said()} ({self.where})" if self.where else self._said()

    def _said(self) -> str:
        if self.open:
            return f"{self.of}.{self.key}: NOT MEASURED: {self.limit:g} allowed; {self.open}"
        if self.found is None:
            return f"{self.of}.{self.key}: MISSED: {self.limit:g} allowed, but it could not be measured here"
        if self.is_met:
            return f"{self.of}.{self.key}: met: {self.found:.4g} of {self.limit:g}"
        return (
            f"{self.of}.{self.key}: MISSED: {self.found:.4g} where {self.limit:g} is allowed, {self._excess():.3g} over"
        )

    def _excess(self) -> float:
        return 0.0 if self.found is None else self.found - self.limit


OF_THE_MACHINE = frozenset({"latency_p50_ms", "latency_p95_ms", "peak_memory_mib"})
"""Budgets whose numbers depend on the machine that measured them."""
MEASURE = "the target's runtime can't run here: build, or edgewright bench ARTIFACT, on a machine that has it"


def verdicts(budget: Budget, summary: Summary, where: str = "") -> tuple[Verdict, ...]:
    """A verdict for each budget that the recipe sets, in the recipe's words and units.

    `where` says what measured latency and memory, where that is not the target.
    """
    artifact = summary.artifact
    found = {
        "accuracy_drop_points": accuracy_drop_points(summary),
        "flips_percent": None if summary.flips is None else 100 * summary.flips,
        "artifact_kib": artifact.total_bytes / 1024,
        **({} if artifact.latency is None else _of_the_machine(artifact.latency)),
    }
    return tuple(
        Verdict(key, limit, found.get(key), **({"where": where} if key in found else {"open": MEASURE}))
        if key in OF_THE_MACHINE
        else Verdict(key, limit, found[key])
        for key, limit in budget.model_dump(exclude_none=True).items()
    )


def _of_the_machine(report: LatencyReport) -> dict[str, float | None]:
    p95_ns, peak_bytes = report.percentile_ns(95), report.peak_rss_bytes
    return {
        "latency_p50_ms": report.p50_ns / 1e6,
        "latency_p95_ms": None if p95_ns is None else p95_ns / 1e6,
        "peak_memory_mib": None if peak_bytes is None else peak_bytes / 2**20,
    }


def accuracy_drop_points(summary: Summary) -> float:
    """By how much the metric got worse: in points of 100 for shares, in hundredths of the baseline for errors.

    Rounded to what binary fractions hold, so that six samples of 600 are one point and no more.
    """
    before, after = summary.baseline.evaluation, summary.artifact.evaluation
    if before.is_higher_better:
        return round(100 * (before.value - after.value), 9)
    return round(100 * (after.value - before.value) / max(before.value, 1e-12), 9)
