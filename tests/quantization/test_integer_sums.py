"""What kernels compute between integers, by cases worked out by hand."""

from __future__ import annotations

import pytest
import torch
from edgewright.quantization.fixed_point import Ties, multiplier_of
from edgewright.quantization.integer_sums import (
    ADDEND_BITS,
    VECTOR_CHANNELS,
    centred,
    image_means,
    leaky,
    rescaled,
    resized,
    term,
    window_means,
)
from torch import Tensor

WHOLE = (0, -128, 127)
"""A grid whose zero point is 0, and all of int8."""


def codes(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int8)


def pair(real: float) -> tuple[int, int]:
    found = multiplier_of(real)
    return found.integer, found.shift


def test_codes_are_counted_from_their_zero_point() -> None:
    found = centred(codes(-128, 0, 127), -128)
    assert (found.tolist(), found.dtype) == ([0, 128, 255], torch.float64)


def test_sums_are_multiplied_and_kept_on_the_grid() -> None:
    sums = torch.tensor([10.0, -10.0, 3000.0, -3000.0], dtype=torch.float64)
    found = rescaled(sums, *pair(0.25), Ties.AWAY.value, (5, -100, 90))
    assert (found.tolist(), found.dtype) == ([8, 2, 90, -100], torch.int8)
    assert rescaled(sums, *pair(0.25), Ties.UP.value, (5, -100, 90)).tolist() == [8, 3, 90, -100]


def test_terms_of_a_sum_are_on_half_the_coarser_grid() -> None:
    found = term(codes(-3, 4), 1, *pair(0.5))
    assert found.tolist() == [-4 * 2 ** (ADDEND_BITS - 1), 3 * 2 ** (ADDEND_BITS - 1)]


def test_means_over_windows_are_those_of_the_codes_halves_away_from_zero() -> None:
    sums = torch.tensor([2.0, -2.0, 6.0, 5.0])  # of four codes each: with the zero point, 6, 2, 10 and 9
    assert window_means(sums, 4, 1, (1, -128, 127)).tolist() == [2, 1, 3, 2]
    assert window_means(torch.tensor([-6.0, -5.0]), 4, 0, WHOLE).tolist() == [-2, -1]
    assert window_means(torch.tensor([-6.0, -5.0]), 4, 0, (0, -1, 127)).tolist() == [-1, -1]


@pytest.mark.parametrize("is_vector", [False, True])
def test_means_over_images_put_ties_elsewhere_in_whole_vectors(is_vector: bool) -> None:
    image = torch.full((1, VECTOR_CHANNELS + 2, 2, 2), -1, dtype=torch.int8)
    image[..., 1] = -2  # the mean is -1.5
    found = image_means(image, *pair(1 / 4), is_vector, (10, -128, 127))
    assert found.shape == (1, VECTOR_CHANNELS + 2, 1, 1)
    assert found.flatten().tolist() == [9 if is_vector else 8] * VECTOR_CHANNELS + [8, 8]


def test_a_leaky_relu_has_two_multipliers() -> None:
    found = leaky(codes(-7, 1, 9, 127), 1, pair(1.0), pair(0.25), (-2, -128, 100))
    assert found.tolist() == [-4, -2, 6, 100]


def test_an_image_in_another_size_lies_between_the_nearest_codes() -> None:
    row = codes(0, 100).reshape(1, 1, 1, 2)
    assert resized(row, 1, 4, False).flatten().tolist() == [0, 25, 75, 100]
    assert resized(row, 1, 3, True).flatten().tolist() == [0, 50, 100]
    assert resized(row, 2, 1, True).flatten().tolist() == [0, 0]
    halves = codes(-1, -2, 1, 2).reshape(1, 2, 2, 1)
    assert resized(halves, 3, 1, True).flatten().tolist() == [-1, -2, -2, 1, 2, 2]
