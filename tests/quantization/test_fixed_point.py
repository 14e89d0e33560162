"""Multiplying in fixed point, by cases worked out by hand."""

from __future__ import annotations

import pytest
import torch
from edgewright.quantization.fixed_point import Multiplier, Ties, divided, high_product, multiplied, multiplier_of
from hypothesis import given
from hypothesis import strategies as st

HALF, LARGEST = 2**30, 2**31 - 1


@pytest.mark.parametrize(
    ("real", "integer", "shift"),
    [
        (0.5, HALF, 0),
        (1.0, HALF, 1),
        (0.75, 3 * 2**29, 0),
        (0.1, round(0.8 * 2**31), -3),
        (1 - 2.0**-40, HALF, 1),  # rounds up to a power of two
        (2.0**-33, 0, 0),  # too small for any shift
        (2.0**-32, HALF, -31),
    ],
)
def test_a_multiplier_is_the_nearest_of_31_bits(real: float, integer: int, shift: int) -> None:
    assert multiplier_of(real) == Multiplier(integer, shift)


@given(real=st.floats(2.0**-30, 2.0**20))
def test_a_multiplier_stands_for_its_number(real: float) -> None:
    found = multiplier_of(real)
    assert HALF <= found.integer <= LARGEST
    assert abs(found.integer * 2.0 ** (found.shift - 31) - real) <= real * 2.0**-31


def test_the_upper_half_of_a_product_is_rounded_halves_up() -> None:
    values = torch.tensor([3, 1, -1, -3, 5, 2**31 - 1])
    assert high_product(values, HALF).tolist() == [2, 1, 0, -1, 3, HALF]


@pytest.mark.parametrize(
    ("ties", "expected"), [(Ties.UP, [1, 1, 0, 0, -1, 2, -1]), (Ties.AWAY, [1, 1, 0, -1, -1, 2, -2])]
)
def test_halves_below_zero_go_where_the_kernel_puts_them(ties: Ties, expected: list[int]) -> None:
    """Divided by four: 1.5 (as 6) is a tie, -1.5 (as -6) is one below zero."""
    assert divided(torch.tensor([2, 3, 1, -2, -3, 6, -6]), 2, ties).tolist() == expected


def test_nothing_is_rounded_where_nothing_is_shifted_out() -> None:
    for ties in Ties:
        assert divided(torch.tensor([-3, -1, 0, 7]), 0, ties).tolist() == [-3, -1, 0, 7]


def test_two_roundings_give_another_integer_than_one() -> None:
    """5 * 0.29 = 1.45 is 1; but 5 * 0.58 = 2.9 is rounded to 3, of which the half is a tie, and goes to 2."""
    multiplier = multiplier_of(0.29)
    assert multiplier.shift == -1
    for sign, ties, expected in ((1, Ties.UP, 2), (1, Ties.AWAY, 2), (-1, Ties.UP, -1), (-1, Ties.AWAY, -2)):
        found = multiplied(torch.tensor([5 * sign]), multiplier.integer, multiplier.shift, ties)
        assert found.tolist() == [expected]


def test_each_channel_may_have_a_multiplier_of_its_own() -> None:
    pairs = [multiplier_of(real) for real in (0.25, 3.0)]
    integers, shifts = torch.tensor([[each.integer] for each in pairs]), torch.tensor([[each.shift] for each in pairs])
    found = multiplied(torch.tensor([[10, -10], [10, -10]]), integers, shifts, Ties.AWAY)
    assert found.tolist() == [[3, -3], [30, -30]]
