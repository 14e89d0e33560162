"""Whether one set of predictions is better than another on the same samples, with an interval that says how sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..ir.errors import InputError, Problem
from .accuracy import Metric

if TYPE_CHECKING:
    import numpy as np

Verdict = Literal["better", "worse", "cannot tell"]

CONFIDENCE = 0.99
RESAMPLES = 1000


@dataclass(frozen=True)
class Change:
    """By how much a metric differs, the interval of that, and what may be said of it."""

    difference: float
    low: float
    high: float
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The numbers and the verdict."""
        return {"difference": self.difference, "low": self.low, "high": self.high, "verdict": self.verdict}


def change(
    metric: Metric, before: np.ndarray, after: np.ndarray, labels: np.ndarray, *, is_higher_better: bool = True
) -> Change:
    """What the metric gains from `before` to `after`, both predictions (N, ...) of the samples with these labels.

    Samples are drawn again, the same for both (paired bootstrap; Efron and Tibshirani 1993, chapter 8), under a fixed
    seed. InputError where there are not as many predictions as labels.
    """
    import numpy as np

    if not len(before) == len(after) == len(labels):
        expected = f"as many predictions as labels ({len(labels)})"
        raise InputError(Problem("predictions", "samples", expected, f"{len(before)} and {len(after)}"))
    difference = metric(after, labels) - metric(before, labels)
    random = np.random.default_rng(0)
    drawn = (random.integers(0, len(labels), len(labels)) for _ in range(RESAMPLES))
    found = [metric(after[rows], labels[rows]) - metric(before[rows], labels[rows]) for rows in drawn]
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.quantile(found, [tail, 1 - tail]))
    return Change(difference, low, high, _verdict(low, high, is_higher_better))


def _verdict(low: float, high: float, is_higher_better: bool) -> Verdict:
    if not (low > 0 or high < 0):  # NaN too, as from a metric that some samples do not have
        return "cannot tell"
    return "better" if (low > 0) == is_higher_better else "worse"
