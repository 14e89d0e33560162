"""Metrics beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from edgewright.ir.metrics import f1_macro


def test_f1_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(2)
    for classes in (2, 3, 10):
        predicted, labels = random.integers(0, classes, 50), random.integers(0, classes, 50)
        assert f1_macro(predicted, labels) == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
        several, marks = random.random((50, classes)) > 0.5, random.integers(0, 2, (50, classes))
        assert f1_macro(several, marks) == pytest.approx(metrics.f1_score(marks, several, average="macro"))


def test_a_class_that_is_never_met_does_not_count_as_zero() -> None:
    predicted, labels = np.array([0, 0, 2]), np.array([0, 0, 2])
    assert f1_macro(predicted, labels) == 1.0
