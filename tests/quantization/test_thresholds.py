"""Ranges: percentile is numpy's, squared error and entropy are what plain loops find, and each does what it is for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from edgewright.quantization.grids import Grid, activation_grid
from edgewright.quantization.observers import BINS, Histogram
from edgewright.quantization.thresholds import Range, entropy, mean_squared_error, percentile
from torch import Tensor

Array = npt.NDArray[np.float64]
METHODS: dict[str, Callable[[Histogram], Range]] = {
    "percentile": lambda histogram: percentile(histogram, 99.9),
    "mse": lambda histogram: mean_squared_error(histogram, symmetric=False),
    "entropy": entropy,
}
every_method = pytest.mark.parametrize("choose", METHODS.values(), ids=METHODS)


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def uniform(count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(0))


def with_outliers(count: int) -> Tensor:
    """Normal values, and ten of twenty standard deviations on either side."""
    return torch.cat([normal(count), torch.full((10,), 20.0), torch.full((10,), -20.0)])


def histogram_of(values: Tensor) -> Histogram:
    """Every value is counted: each is a sample of its own."""
    histogram = Histogram()
    histogram.update(values.reshape(-1, 1))
    return histogram


def signed_counts(histogram: Histogram) -> Array:
    """(2 * BINS,) counts from the lowest bin to the highest."""
    return np.concatenate([histogram.negative[::-1], histogram.positive])


@pytest.mark.parametrize("percent", [90, 99, 99.9])
def test_percentile_is_that_of_numpy(percent: float) -> None:
    values = 2 * normal(200_000) + 1
    histogram = histogram_of(values)
    tails = (100 - percent) / 2
    expected = np.percentile(values.numpy(), [tails, 100 - tails])
    ordered = values.sort().values.numpy()
    beyond = int(len(values) * tails / 100)
    gap = max(ordered[beyond + 1] - ordered[beyond - 1], ordered[-beyond] - ordered[-beyond - 2])
    assert np.abs(np.subtract(percentile(histogram, percent), expected)).max() <= histogram.width + gap


@pytest.mark.parametrize("percent", [60, 97, 99.99, 100])
@pytest.mark.parametrize("count", [3, 50, 1000])
def test_no_more_than_the_rest_lies_outside_a_percentile_and_not_much_less(percent: float, count: int) -> None:
    values = with_outliers(count) + 0.5
    histogram = histogram_of(values)
    low, high = percentile(histogram, percent)
    outside = len(values) * (1 - percent / 100) / 2
    assert int((values > high + histogram.width).sum()) <= outside
    assert int((values < low - histogram.width).sum()) <= outside
    assert int((values >= high - histogram.width).sum()) > outside
    assert float(values.min()) <= low <= high <= float(values.max())


def test_all_percent_are_the_extremes() -> None:
    values = normal(1000)
    assert percentile(histogram_of(values), 100) == (float(values.min()), float(values.max()))


def test_a_percentile_of_positive_values_cuts_above_only() -> None:
    low, high = percentile(histogram_of(uniform(10_000)), 90)
    assert low == 0
    assert high == pytest.approx(0.95, abs=1 / np.sqrt(10_000))


def squared_error(histogram: Histogram, low: float, high: float, levels: int, symmetric: bool) -> float:
    """What `mean_squared_error` minimises, from each bin's center."""
    counts = signed_counts(histogram)
    filled = np.nonzero(counts)[0]
    centers = (filled - BINS + 0.5) * histogram.width
    span = 2 * max(-low, high) if symmetric else high - low
    is_outside = np.where(centers > 0, centers >= high, centers <= low)
    clipped = np.where(centers > 0, centers - high, low - centers) ** 2
    return float((counts[filled] * np.where(is_outside, clipped, (span / (levels - 1)) ** 2 / 12)).sum())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("levels", [4, 16])
@pytest.mark.parametrize("values", [normal(40), normal(20).relu(), -normal(20).abs(), with_outliers(9)])
def test_no_other_candidate_has_a_smaller_squared_error(values: Tensor, levels: int, symmetric: bool) -> None:
    histogram = histogram_of(values)
    low, high = mean_squared_error(histogram, symmetric, levels)
    found = squared_error(histogram, low, high, levels, symmetric)
    parts = np.linspace(0.05, 1, 128)[::-2]
    lows, highs = parts * max(-histogram.minimum, 0.0), parts * max(histogram.maximum, 0.0)
    others = [squared_error(histogram, -a, b, levels, symmetric) for a in np.unique(lows) for b in np.unique(highs)]
    rounding = len(values) * np.finfo(float).eps
    assert found <= min(others) * (1 + rounding)
    assert -low <= max(-histogram.minimum, 0.0)
    assert high <= max(histogram.maximum, 0.0)


def real_error(values: Tensor, bounds: Range) -> float:
    """The mean squared error of the values on the uint8 grid of the range."""
    grid = activation_grid(*bounds, Grid("uint8", False))
    exact = values.double().numpy()
    codes = np.clip(np.round(exact / grid.scale) + grid.zero_point, grid.lowest, grid.highest)
    return float((((codes - grid.zero_point) * grid.scale - exact) ** 2).mean())


@pytest.mark.parametrize("values", [normal(50_000), normal(50_000).relu(), with_outliers(50_000), normal(50_000) ** 3])
def test_no_method_has_less_error_on_a_real_grid_than_the_one_that_looks_for_it(values: Tensor) -> None:
    histogram = histogram_of(values)
    least = real_error(values, mean_squared_error(histogram, symmetric=False))
    others = [(histogram.minimum, histogram.maximum), entropy(histogram), percentile(histogram, 99.99)]
    assert least <= min(real_error(values, (min(low, 0.0), max(high, 0.0))) for low, high in others)


def divergence(counts: Array, low: int, high: int, levels: int) -> float:
    """Migacz's algorithm for bins [low, high), bin by bin."""
    reference = counts[low:high].copy()
    reference[0] += counts[:low].sum()
    reference[-1] += counts[high:].sum()
    level_of = np.arange(high - low) * levels // (high - low)
    quantized = np.zeros(high - low)
    for level in range(levels):
        own = level_of == level
        filled = own & (reference > 0)
        if filled.any():
            quantized[filled] = counts[low:high][own].sum() / filled.sum()
    if not quantized.any():
        return float("inf")
    p, q = reference / reference.sum(), quantized / quantized.sum()
    some = p > 0
    with np.errstate(divide="ignore"):
        return float((p[some] * np.log(p[some] / q[some])).sum())


@pytest.mark.parametrize("levels", [16, 256])
@pytest.mark.parametrize("values", [normal(300), normal(200).relu(), -normal(100).abs(), with_outliers(2000)])
def test_no_other_candidate_diverges_less(values: Tensor, levels: int) -> None:
    histogram = histogram_of(values)
    counts = signed_counts(histogram)
    filled = np.nonzero(counts)[0]
    low_last, high_last = max(BINS - int(filled[0]), 0), max(int(filled[-1]) + 1 - BINS, 0)
    last = max(low_last, high_last)

    def diverges(reach: int) -> float:
        return divergence(counts, BINS - min(reach, low_last), BINS + min(reach, high_last), levels)

    low, high = entropy(histogram, levels)
    is_all = (min(histogram.minimum, 0), max(histogram.maximum, 0)) == (low, high)
    chosen = last if is_all else int(np.ceil(max(-low, high) / histogram.width))
    others = np.unique(np.linspace(last // 8, last, 128).astype(int))
    rounding = len(counts) * np.finfo(float).eps
    assert diverges(chosen) <= min(map(diverges, others)) + rounding
    assert chosen in others


def test_entropy_clips_outliers_and_leaves_what_is_spread_evenly() -> None:
    """Migacz 2017: what makes the entropy method worth its name."""
    low, high = entropy(histogram_of(with_outliers(100_000)))
    normal_extreme = float(normal(100_000).abs().max())
    assert max(-low, high) < normal_extreme
    assert min(-low, high) > 2.58  # 99 of 100 normal values lie within
    values = uniform(100_000)
    assert entropy(histogram_of(values)) == (0.0, float(values.max()))


def test_entropy_keeps_values_that_an_activation_clipped() -> None:
    """A ReLU6 puts a part of all values at exactly 6, where a bin begins; that part is no outlier."""
    values = (4 * normal(100_000)).clamp(0, 6)
    assert entropy(histogram_of(values)) == (0.0, 6.0)
    assert entropy(histogram_of(-values)) == (-6.0, 0.0)


@pytest.mark.parametrize("zeros", [1, 10_000, 1_000_000])
def test_zeros_do_not_draw_entropy_or_squared_error_to_themselves(zeros: int) -> None:
    """After a ReLU more than half of all values are zero; they are on every grid and say nothing about the range."""
    values = normal(10_000).abs()
    sparse = torch.cat([values, torch.zeros(zeros)])
    assert entropy(histogram_of(sparse)) == entropy(histogram_of(values))
    assert mean_squared_error(histogram_of(sparse), False) == mean_squared_error(histogram_of(values), False)


@every_method
@pytest.mark.parametrize("factor", [2.0**-40, 1.0, 2.0**40])
def test_the_unit_of_the_values_does_not_matter(choose: Callable[[Histogram], Range], factor: float) -> None:
    values = with_outliers(5000)
    low, high = choose(histogram_of(values))
    assert choose(histogram_of(values * factor)) == (low * factor, high * factor)


@every_method
def test_what_is_always_zero_has_no_width(choose: Callable[[Histogram], Range]) -> None:
    assert choose(histogram_of(torch.zeros(100))) == (0, 0)


@every_method
def test_one_value_that_is_not_zero_is_never_lost(choose: Callable[[Histogram], Range]) -> None:
    """A range of zero width would turn the whole tensor to zeros."""
    values = torch.zeros(100_000)
    values[5] = 3.0
    low, high = choose(histogram_of(values))
    assert (low, high) == (0, 3)


@every_method
def test_a_tensor_of_which_only_zeros_were_counted_keeps_its_extremes(choose: Callable[[Histogram], Range]) -> None:
    values = torch.zeros(1, 1_000_000)
    values[0, 12_345], values[0, 54_321] = 3.0, -2.0
    histogram = Histogram()
    histogram.update(values)
    assert not signed_counts(histogram).any()
    assert choose(histogram) == (-2, 3)
