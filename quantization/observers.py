"""Streaming observers: what a calibration remembers of a tensor, in memory that does not grow with the samples.

Every observer gives the same answer for the same samples in any order and in batches of any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Counts = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]

BINS = 4096
"""Bins on each side of zero; a side is filled to more than half, so that a step of int8 spans eight bins or more."""
ENOUGH = 1 << 18
"""Values of a tensor that a histogram counts, over all samples, where each gives `LEAST` or more."""
LEAST, MOST = 512, 4096
"""Values of one sample that are counted, at least and at most; of a larger tensor every k-th is taken."""
_PART = 1 << 18
"""Values that are counted at a time: what that takes stays in the processor's cache."""


class Observer(Protocol):
    """Remembers enough of a tensor's values to choose a range."""

    minimum: float
    maximum: float

    def update(self, values: Tensor) -> None:
        """The values (N, ...) of N samples are counted in."""
        ...


class Extremes:
    """The least and the greatest value seen."""

    def __init__(self) -> None:
        self.minimum = float("inf")
        self.maximum = float("-inf")

    def update(self, values: Tensor) -> None:
        low, high = values.aminmax()
        self.minimum = min(self.minimum, float(low))
        self.maximum = max(self.maximum, float(high))
        if low != low or high != high:
            self.minimum, self.maximum = float("nan"), float("nan")


class AverageExtremes(Extremes):
    """The extremes of each sample, averaged over the samples; each sample weighs the same, whatever its batch."""

    def __init__(self) -> None:
        super().__init__()
        self._samples = 0
        self._low = self._high = 0.0

    def update(self, values: Tensor) -> None:
        super().update(values)
        flat = values.reshape(values.shape[0], -1)
        self._low += float(flat.amin(1).double().sum())
        self._high += float(flat.amax(1).double().sum())
        self._samples += len(flat)

    @property
    def average(self) -> tuple[float, float]:
        """The mean of the samples' minima and of their maxima."""
        return self._low / self._samples, self._high / self._samples


class Histogram(Extremes):
    """Counts of values in bins of width 2^exponent on both sides of zero, exact zeros aside.

    The extremes are those of all values; of large tensors only some values are counted, fewer of each sample where
    there are many `samples`.

    When a value does not fit, pairs of bins are merged, which is what counting with the wider bins from the start
    would have given, so the counts depend neither on the order nor on the batches.
    """

    def __init__(self, samples: int = 1) -> None:
        super().__init__()
        self._values_per_sample = max(LEAST, min(MOST, ENOUGH // samples))
        self.exponent: int | None = None
        self.zeros = 0
        self._counts: Counts = np.zeros(2 * BINS)

    @property
    def width(self) -> float:
        """The bins' width, in the tensor's own unit."""
        return 1.0 if self.exponent is None else float(2.0**self.exponent)

    @property
    def positive(self) -> Counts:
        """(BINS,) counts of the values above zero, by growing magnitude."""
        return self._counts[BINS:]

    @property
    def negative(self) -> Counts:
        """(BINS,) counts of the values below zero, by growing magnitude."""
        return self._counts[BINS - 1 :: -1]

    def update(self, values: Tensor) -> None:
        values = values.float()
        super().update(values)
        largest = max(abs(self.minimum), abs(self.maximum))
        if not np.isfinite(largest):
            return
        counted = _some_of_each(values, self._values_per_sample)
        zeros = len(counted) - int(np.count_nonzero(counted))
        self.zeros += zeros
        if largest == 0:
            return
        self._widen(_exponent(largest))
        for start in range(0, len(counted), _PART):
            self._count(counted[start : start + _PART])
        self._counts[BINS] -= zeros

    def _count(self, values: Values) -> None:
        """Multiplying by a power of two is exact, and so are the bins' edges: bin i holds [i, i + 1) widths."""
        bins = np.floor(values * np.float32(1 / self.width)).astype(np.int32) + BINS
        self._counts += np.bincount(bins, minlength=2 * BINS)

    def _widen(self, exponent: int) -> None:
        while self.exponent is not None and self.exponent < exponent:
            self._counts = np.pad(self._counts.reshape(-1, 2).sum(1), BINS // 2)
            self.exponent += 1
        self.exponent = exponent if self.exponent is None else self.exponent


def _some_of_each(values: Tensor, most: int) -> Values:
    """At most so many values of each sample in `values` (N, ...), the same places in every one.

    The stride is odd, so that it walks through all columns and channels, whose numbers are mostly even.
    """
    flat = values.detach().reshape(values.shape[0], -1).numpy()
    stride = -(-flat.shape[1] // most)
    return flat[:, :: stride + (stride + 1) % 2].reshape(-1)


def _exponent(largest: float) -> int:
    """The least exponent with which `largest` lies inside the last bin, not on its far edge."""
    _, power = np.frexp(largest)
    return max(int(power) - int(np.log2(BINS)), -100)
