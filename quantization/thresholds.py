"""How a range is chosen from what an observer saw: percentile, mean squared error, entropy (Kullback-Leibler)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .observers import BINS, Counts, Histogram

Bins = npt.NDArray[np.int64]

Range = tuple[float, float]

_CANDIDATES = 128
_SMALLEST = 0.05
"""No candidate clips a side to less than this part of its extreme."""


def percentile(histogram: Histogram, percent: float) -> Range:
    """The range that leaves (100 - percent) % of all values outside, half of them on each side.

    Where that would leave nothing but zero inside, it is the extremes.
    """
    total = histogram.positive.sum() + histogram.negative.sum() + histogram.zeros
    outside = total * (1 - percent / 100) / 2
    low = -_quantile(histogram.negative, outside, histogram.width)
    high = _quantile(histogram.positive, outside, histogram.width)
    least, greatest = _extremes(histogram)
    return (max(low, least), min(high, greatest)) if low < high else (least, greatest)


def mean_squared_error(histogram: Histogram, symmetric: bool, levels: int = 256) -> Range:
    """The range with the least expected squared error: what is cut off beyond it, and step^2 / 12 for what is inside.

    Banner et al. 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment", eq. 3-5,
    on the histogram instead of a fitted distribution; zeros have no error, zero lies on the grid.
    """
    least, greatest = _extremes(histogram)
    if not _has_counts(histogram):
        return least, greatest
    lows, highs = _candidates(-least), _candidates(greatest)
    low_clip, low_inside = _clipping(histogram.negative, lows, histogram.width)
    high_clip, high_inside = _clipping(histogram.positive, highs, histogram.width)
    spans = lows[:, None] + highs[None, :]
    if symmetric:
        spans = 2 * np.maximum(lows[:, None], highs[None, :])
    rounding = (spans / (levels - 1)) ** 2 / 12
    error = low_clip[:, None] + high_clip[None, :] + rounding * (low_inside[:, None] + high_inside[None, :])
    low, high = np.unravel_index(np.argmin(error), error.shape)
    return -float(lows[low]), float(highs[high])


def entropy(histogram: Histogram, levels: int = 256) -> Range:
    """The range whose quantized distribution diverges least from the one that was seen.

    Migacz 2017, "8-bit Inference with TensorRT" (GTC): what is cut off is counted into the edge bins of the
    reference distribution, and each level's mass is spread over its bins that are not empty. Values at exactly zero
    are left out of both, for they are represented without error, and after a ReLU they would outweigh all others.
    """
    least, greatest = _extremes(histogram)
    if not _has_counts(histogram):
        return least, greatest
    divergence_of = _Divergence(np.concatenate([histogram.negative[::-1], histogram.positive]), levels)
    low_last = int(np.ceil(-least / histogram.width))
    high_last = int(np.floor(greatest / histogram.width)) + 1 if greatest > 0 else 0
    last = max(low_last, high_last)
    first = max(last // 8, min(levels // 2, last))
    reach = np.unique(np.linspace(first, last, _CANDIDATES).astype(int))
    divergence = divergence_of(BINS - np.minimum(reach, low_last), BINS + np.minimum(reach, high_last))
    threshold = float(reach[np.argmin(divergence)]) * histogram.width
    return max(-threshold, least), min(threshold, greatest)


def _extremes(histogram: Histogram) -> Range:
    """The least range that holds all values, those that were not counted too, and zero."""
    return min(histogram.minimum, 0.0), max(histogram.maximum, 0.0)


def _has_counts(histogram: Histogram) -> bool:
    """Whether a value other than zero was counted; of a large tensor with few such values perhaps none was."""
    return bool(histogram.positive.any() or histogram.negative.any())


def _quantile(counts: Counts, outside: float, width: float) -> float:
    """The magnitude beyond which `outside` counts lie, linear within a bin; zero where there are fewer counts."""
    beyond = np.concatenate([np.cumsum(counts[::-1])[::-1], [0.0]])
    if beyond[0] <= outside:
        return 0.0
    index = int(np.nonzero(beyond > outside)[0][-1])
    part = (beyond[index] - outside) / counts[index]
    return float((index + part) * width)


def _candidates(extreme: float) -> Counts:
    return extreme * np.linspace(_SMALLEST, 1.0, _CANDIDATES) if extreme > 0 else np.zeros(1)


def _clipping(counts: Counts, thresholds: Counts, width: float) -> tuple[Counts, Counts]:
    """For each threshold (K,): the summed squared distance of what lies beyond it, and how much lies inside."""
    centers = (np.arange(len(counts)) + 0.5) * width
    beyond = [np.concatenate([np.cumsum((counts * centers**power)[::-1])[::-1], [0.0]]) for power in (0, 1, 2)]
    index = np.minimum(np.ceil(thresholds / width - 0.5).astype(int), len(counts))
    mass, first, second = (values[index] for values in beyond)
    return second - 2 * thresholds * first + thresholds**2 * mass, counts.sum() - mass


class _Divergence:
    """The Kullback-Leibler divergence of clipped counts from their quantized form, from sums that are taken once.

    Within a level every bin that is not empty holds the same quantized mass, so that only sums over levels are needed.
    """

    def __init__(self, counts: Counts, levels: int) -> None:
        self._counts, self._levels = counts, levels
        self._mass = np.concatenate([[0.0], np.cumsum(counts)])
        self._filled = np.concatenate([[0], np.cumsum(counts > 0)])
        self._entropy = np.concatenate([[0.0], np.cumsum(_times_log(counts))])

    def __call__(self, lows: Bins, highs: Bins) -> Counts:
        """(K,) those of the ranges of bins [low, high); infinite where a range holds no counts."""
        inside = self._mass[highs] - self._mass[lows]
        steps = np.arange(self._levels + 1)
        edges = lows[:, None] - (-steps * (highs - lows)[:, None]) // self._levels
        mass = np.diff(self._mass[edges], axis=1)
        filled = np.diff(self._filled[edges], axis=1).astype(float)
        reference, entropy = mass.copy(), self._entropy[highs] - self._entropy[lows]
        total = self._mass[-1]
        for level, edge, cut in ((0, lows, self._mass[lows]), (-1, highs - 1, total - self._mass[highs])):
            count = self._counts[edge]
            entropy += _times_log(count + cut) - _times_log(count)
            reference[:, level] += cut
            filled[:, level] += (count == 0) & (cut > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            quantized = np.maximum(mass / np.maximum(filled, 1) / inside[:, None], 1e-9)
        divergence = (entropy - (reference * np.log(quantized)).sum(1)) / total - np.log(total)
        return np.where(inside > 0, divergence, np.inf)


def _times_log(counts: Any) -> Any:
    """counts * log(counts), zero where there are none."""
    return counts * np.log(np.where(counts > 0, counts, 1.0))
