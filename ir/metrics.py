"""Metrics of predictions that more than one room speaks of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def f1_macro(predicted: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes of 2 TP / (2 TP + FP + FN); a class that neither occurs nor is predicted is left out.

    Both are classes (N,), or for several classes at once 0 and 1 in (N, classes).
    """
    import numpy as np

    if labels.ndim == 1:
        every = np.union1d(predicted, labels)
        predicted, labels = predicted[:, None] == every, labels[:, None] == every
    predicted, labels = predicted > 0, labels > 0
    hits = (predicted & labels).sum(0)
    total = predicted.sum(0) + labels.sum(0)
    return float((2 * hits[total > 0] / total[total > 0]).mean()) if total.any() else 0.0
