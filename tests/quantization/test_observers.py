"""Observers: the same answer whatever the order and the batches, in memory that does not grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgewright.quantization.observers import BINS, LEAST, MOST, AverageExtremes, Extremes, Histogram
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

KINDS = [Extremes, AverageExtremes, Histogram]


def samples(count: int, shape: tuple[int, ...] = (5,), seed: int = 0) -> Tensor:
    """(count, *shape): normal values whose size differs between samples, a quarter of them zero as after a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 4.0 ** torch.randn(count, *[1] * len(shape), generator=generator)
    values = torch.randn(count, *shape, generator=generator) * sizes
    return values * (torch.rand(count, *shape, generator=generator) > 0.25)


def seen(observer: Extremes, batches: list[Tensor]) -> dict[str, object]:
    """What the observer remembers of the batches, as comparable values."""
    for batch in batches:
        observer.update(batch)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(observer).items()}


cuts = st.lists(st.integers(1, 7), min_size=1, max_size=12)
"""The sizes of batches."""


@pytest.mark.parametrize("kind", [Extremes, Histogram])
@given(sizes=cuts, order=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_neither_order_nor_batches_change_what_is_remembered(
    kind: type[Extremes], sizes: list[int], order: object, seed: int
) -> None:
    values = samples(sum(sizes), seed=seed)
    places = list(range(len(values)))
    order.shuffle(places)  # type: ignore[attr-defined]
    assert seen(kind(), list(values[places].split(sizes))) == seen(kind(), [values])


@given(sizes=cuts, order=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_every_sample_weighs_the_same_in_an_average(sizes: list[int], order: object, seed: int) -> None:
    values = samples(sum(sizes), seed=seed)
    places = list(range(len(values)))
    order.shuffle(places)  # type: ignore[attr-defined]
    observer = AverageExtremes()
    seen(observer, list(values[places].split(sizes)))
    exact = values.double()
    means = float(exact.amin(1).mean()), float(exact.amax(1).mean())
    rounding = len(values) * np.finfo(np.float64).eps * float(exact.abs().max())
    assert np.abs(np.subtract(observer.average, means)).max() <= rounding


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_remembered_does_not_grow(kind: type[Extremes]) -> None:
    def held(observer: Extremes) -> dict[str, int]:
        state = vars(observer).values()
        assert all(isinstance(value, int | float | np.ndarray) for value in state)
        return {name: value.nbytes if isinstance(value, np.ndarray) else 0 for name, value in vars(observer).items()}

    observer = kind()
    observer.update(samples(1))
    before = held(observer)
    for seed in range(200):
        observer.update(samples(3, (4, 7), seed))
    assert held(observer) == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", [0, 3])
def test_what_is_not_finite_shows_in_the_extremes_and_stays(kind: type[Extremes], bad: float, place: int) -> None:
    observer, batches = kind(), [samples(2, seed=seed) for seed in range(4)]
    batches[place][1, 2] = bad
    for batch in batches:
        observer.update(batch)
    assert not (np.isfinite(observer.minimum) and np.isfinite(observer.maximum))


def test_a_histogram_counts_what_numpy_counts() -> None:
    values, observer = samples(40, (8, 8)), Histogram()
    for batch in values.split(7):
        observer.update(batch)
    edges = np.arange(BINS + 1) * observer.width
    counted = values.numpy().astype(float)
    assert observer.zeros == np.count_nonzero(counted == 0)
    assert np.array_equal(observer.positive, np.histogram(counted[counted > 0], edges)[0])
    upper_edge_closed = np.nextafter(edges, np.inf)  # below zero the bins hold their far edge, not their near one
    assert np.array_equal(observer.negative, np.histogram(-counted[counted < 0], upper_edge_closed)[0])
    assert (observer.minimum, observer.maximum) == (counted.min(), counted.max())


@given(largest=st.floats(2.0**-60, 2.0**100, width=32))
def test_the_larger_side_is_filled_to_more_than_half(largest: float) -> None:
    observer = Histogram()
    observer.update(torch.tensor([[largest, -largest / 3]]))
    assert BINS / 2 <= np.nonzero(observer.positive)[0][-1] < BINS
    assert observer.positive.sum() == observer.negative.sum() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_format_is_counted(dtype: torch.dtype) -> None:
    almost_one = torch.tensor([[1 - 1e-12, 0.5, -0.25]], dtype=torch.float64)  # 1 in float32, where a new bin begins
    observer = Histogram()
    observer.update(almost_one.to(dtype))
    assert observer.positive.sum() == 2
    assert observer.negative.sum() == 1


def test_zeros_alone_leave_the_bins_empty() -> None:
    observer = Histogram()
    observer.update(torch.tensor([[0.0, -0.0]]))
    assert (observer.zeros, observer.exponent) == (2, None)
    assert not observer.positive.any()
    assert not observer.negative.any()


@pytest.mark.parametrize("expected", [1, 300, 10_000])
def test_of_large_tensors_some_values_of_every_sample_count_and_the_extremes_are_of_all(expected: int) -> None:
    values = torch.full((3, 16, 64, 64), 0.5)
    values[1, 7, 11, 13], values[2, 7, 11, 13] = 9.0, -9.0
    observer = Histogram(expected)
    observer.update(values)
    counted = (observer.positive.sum() + observer.negative.sum() + observer.zeros) / 3
    assert LEAST / 2 <= counted <= MOST
    assert (observer.minimum, observer.maximum) == (-9.0, 9.0)


def test_the_values_that_count_come_from_all_channels_rows_and_columns() -> None:
    places = torch.arange(16 * 64 * 64, dtype=torch.float32).reshape(1, 16, 64, 64)
    for divisor, count in [(64 * 64, 16), (64, 64), (1, 64)]:
        observer = Histogram(10_000)
        observer.update((places // divisor) % count + 1)
        assert np.count_nonzero(observer.positive) == count
