"""Codebooks, beside scikit-learn's and what was computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from edgewright.quantization.codebooks import (
    Codebook,
    Method,
    Start,
    codebook,
    hashed,
    k_means,
    logarithmic,
    piecewise_linear,
    starts,
)
from torch import Tensor

METHODS: tuple[Method, ...] = ("k-means", "logarithmic", "hash", "piecewise-linear")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def squared_error(weight: Tensor, book: Codebook) -> float:
    return float((book.weights.double() - weight.double()).square().sum())


def test_k_means_by_hand() -> None:
    """From the centers 0 and 10: {0, 1, 5} and {9, 12}, then {0, 1} and {5, 9, 12}, and there it stays."""
    values = torch.tensor([12.0, 0.0, 5.0, 1.0, 9.0]).double()
    centers, index = k_means(values, torch.tensor([0.0, 11.0]).double())
    assert centers.tolist() == [2.0, 10.5]
    assert index.tolist() == [1, 0, 0, 0, 1]
    centers, index = k_means(values, torch.tensor([0.0, 9.0]).double())
    assert centers.tolist() == [0.5, pytest.approx(26 / 3)]
    assert index.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("start", ["linear", "density", "random"])
@pytest.mark.parametrize("clusters", [4, 16])
def test_k_means_is_scikit_learns_from_the_same_start(start: Start, clusters: int) -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn comes with the extra [examples]")
    values = torch.rand(
        3000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )  # leaves no cluster empty
    begin = starts(values, clusters, start, 7)
    centers, index = k_means(values, begin)
    theirs = cluster.KMeans(clusters, init=begin.reshape(-1, 1).numpy(), n_init=1, tol=0, algorithm="lloyd")
    theirs.fit(values.reshape(-1, 1).numpy())
    torch.testing.assert_close(centers, torch.from_numpy(theirs.cluster_centers_).flatten())
    assert index.tolist() == theirs.labels_.tolist()


def test_where_k_means_begins() -> None:
    values = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 102.0, 104.0]).double()
    assert starts(values, 3, "linear", 0).tolist() == [0, 52, 104]
    assert starts(values, 4, "density", 0).tolist() == [1, 3, 101, 104]
    drawn = starts(values, 4, "random", 5).tolist()
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(values.tolist())
    assert drawn == starts(values, 4, "random", 5).tolist()


def test_powers_of_two_are_rounded_in_the_logarithm() -> None:
    """1.4 is below the square root of 2 and 1.5 is not (equation 6); below half of the least power is zero."""
    values = torch.tensor([4.0, -4.1, 1.4, 1.5, -2.9, 0.51, 0.49, 0.0, 0.0]).double()
    book, index = logarithmic(values, 7)
    assert book.tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert book[index].tolist() == [4, -4, 1, 2, -4, 1, 0, 0, 0]


def test_four_bits_are_seven_powers_of_each_sign_and_zero() -> None:
    book = codebook(normal(4000), 16, "logarithmic")
    assert len(book.values) == 15
    assert all(math.frexp(abs(value))[0] == 0.5 for value in book.values.tolist() if value)
    assert book.values.tolist() == [-value for value in reversed(book.values.tolist())]


def test_tiny_weights_have_normal_powers() -> None:
    book = codebook(torch.tensor([[1e-37, -2e-38], [3e-38, 0.0]]), 256, "logarithmic")
    assert bool((book.values[book.values != 0].abs() >= torch.finfo(torch.float32).tiny).all())


def test_two_pieces_are_even_around_zero_and_even_in_the_tails() -> None:
    values = torch.cat([normal(5000, seed=1), torch.tensor([6.0, -6.0])]).double()
    book, index = piecewise_linear(values, 16)
    steps = book.diff()
    assert len(book) == 15
    assert torch.allclose(book, -book.flip(0))
    assert torch.allclose(steps[4:10], steps[7].expand(6))
    assert torch.allclose(steps[-4:], steps[-1].expand(4))
    assert float(steps[-1]) > float(steps[7])
    nearest = (values.reshape(-1, 1) - book).abs().argmin(1)
    assert torch.equal((book[nearest] - values).abs(), (book[index] - values).abs())


def test_two_pieces_cost_less_than_one_where_weights_are_normal() -> None:
    """Fang et al. 2020, section 3: as many levels, spaced evenly, leave a larger error."""
    weight = normal(20000)
    even = torch.linspace(-1, 1, 15) * weight.abs().max()
    one = float((even[(weight.reshape(-1, 1) - even).abs().argmin(1)] - weight).square().sum())
    assert squared_error(weight, codebook(weight, 16, "piecewise-linear")) < 0.7 * one


def test_a_hash_spreads_weights_evenly_and_each_value_is_a_mean() -> None:
    values = normal(64000).double()
    means, index = hashed(values, torch.arange(64000), 64, 3)
    counts = index.bincount(minlength=64)
    assert float((counts - 1000).square().sum() / 1000) < 120  # chi squared of 63 degrees: one in 100,000 is above
    assert float(means[5]) == pytest.approx(float(values[index == 5].mean()))
    again = hashed(values, torch.arange(64000), 64, 3)[1]
    assert torch.equal(again, index)
    assert not torch.equal(hashed(values, torch.arange(64000), 64, 4)[1], index)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clusters", [8, 9, 64])
def test_no_more_values_than_asked_for_all_in_use_and_zeros_stay(method: Method, clusters: int) -> None:
    weight = normal(12, 5, 3, 3)
    weight[weight.abs() < 0.5] = 0
    book = codebook(weight, clusters, method, name="a")
    assert len(book.values.unique()) == len(book.values) <= clusters
    assert book.index.shape == weight.shape
    assert book.values.dtype == weight.dtype
    assert min(book.counts) > 0
    assert sum(book.counts) == weight.numel()
    assert bool((book.weights[weight == 0] == 0).all())


@pytest.mark.parametrize("method", ["k-means", "hash"])
def test_what_is_not_zero_does_not_become_so(method: Method) -> None:
    weight = normal(40, 40)
    weight[:, ::2] = 0
    assert bool((codebook(weight, 16, method).weights[:, 1::2] != 0).all())


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_all_zero_or_all_equal_have_one_value(method: Method) -> None:
    assert codebook(torch.zeros(4, 5), 8, method).weights.tolist() == torch.zeros(4, 5).tolist()
    assert len(codebook(torch.full((4, 5), 0.5), 8, "k-means").values) == 1


def test_more_values_cost_less_and_a_value_for_each_weight_nothing() -> None:
    weight = normal(30, 30)
    errors = [squared_error(weight, codebook(weight, clusters, "k-means", "density")) for clusters in (2, 8, 32, 128)]
    assert errors == sorted(errors, reverse=True)
    few = normal(4, 4)
    assert torch.equal(codebook(few, 16, "k-means", "density").weights, few)
