"""Paired intervals: certain where many samples agree on it, silent where few do, and wrong as rarely as they say."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.benchmarks.accuracy import mean_absolute_error, top1
from edgewright.benchmarks.change import CONFIDENCE, change
from edgewright.ir.errors import InputError
from edgewright.ir.metrics import f1_macro

LABELS = np.random.default_rng(0).integers(0, 10, 1000)


def wrong_on(count: int, seed: int) -> np.ndarray:
    """Predictions that are right but on so many samples."""
    predicted = LABELS.copy()
    rows = np.random.default_rng(seed).choice(len(LABELS), count, replace=False)
    predicted[rows] = (predicted[rows] + 1) % 10
    return predicted


@pytest.mark.parametrize(
    ("before", "after", "verdict"), [(200, 50, "better"), (50, 200, "worse"), (50, 55, "cannot tell")]
)
def test_the_verdict_is_what_the_samples_show(before: int, after: int, verdict: str) -> None:
    found = change(top1, wrong_on(before, 1), wrong_on(after, 2), LABELS)
    assert found.difference == pytest.approx((before - after) / len(LABELS))
    assert found.low <= found.difference <= found.high
    assert found.verdict == verdict


def test_the_same_predictions_differ_by_nothing() -> None:
    found = change(f1_macro, wrong_on(50, 1), wrong_on(50, 1), LABELS)
    assert (found.difference, found.low, found.high, found.verdict) == (0, 0, 0, "cannot tell")


def test_a_metric_that_some_draws_do_not_have_tells_nothing() -> None:
    """The share of those right among the few samples that are named, of which a draw may have none."""

    def share(predicted: np.ndarray, labels: np.ndarray) -> float:
        chosen = labels < 0
        return float((predicted == labels)[chosen].mean()) if chosen.any() else float("nan")

    labels = LABELS.copy()
    labels[:2] = -1
    assert change(share, LABELS, labels, labels).verdict == "cannot tell"


def test_samples_are_paired() -> None:
    """Six errors fewer out of five hundred are seen where the other errors are the same ones."""
    before = wrong_on(500, 1)
    after = before.copy()
    after[np.flatnonzero(before != LABELS)[:12]] = LABELS[before != LABELS][:12]
    assert change(top1, before, after, LABELS).verdict == "better"
    assert change(top1, wrong_on(500, 1), wrong_on(488, 2), LABELS).verdict == "cannot tell"


def test_less_is_better_where_the_metric_is_an_error() -> None:
    before, after = LABELS + 0.5, LABELS + 0.1
    assert change(mean_absolute_error, before, after, LABELS, is_higher_better=False).verdict == "better"


def test_predictors_that_are_alike_are_told_apart_as_rarely_as_the_interval_says() -> None:
    """Of a hundred pairs as good as each other one is expected beyond a 99 % interval; six would be one in 2000."""
    random = np.random.default_rng(3)
    told = 0
    for _ in range(100):
        labels = random.integers(0, 2, 400)
        first, second = (np.where(random.random(400) < 0.2, 1 - labels, labels) for _ in range(2))
        told += change(top1, first, second, labels).verdict != "cannot tell"
    assert told <= 100 * (1 - CONFIDENCE) + 5


def test_other_numbers_of_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"predictions: samples: expected as many predictions as labels \(1000\)"):
        change(top1, LABELS[:5], LABELS, LABELS)
