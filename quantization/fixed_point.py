"""Multiplying integers by a real number in 32 bits, as TFLite's own kernels do: a product's upper half, then a shift.

The arithmetic is that of gemmlowp's fixedpoint.h (https://github.com/google/gemmlowp, doc/quantization.md) as
tensorflow/lite/kernels/internal/common.cc puts it together. It rounds twice, first the product and then what is
shifted out, and so gives another integer than the real product where the first rounding makes a half of what is less.
Tensors are int64 and hold values that fit into 32 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BITS = 31
"""Multipliers are integers between 2^30 and 2^31 that stand for [0.5, 1)."""


class Ties(Enum):
    """Where the second rounding puts a half below zero. Halves above zero go up."""

    UP = "up"
    AWAY = "away from zero"


@dataclass(frozen=True)
class Multiplier:
    """The real number `integer` * 2^(shift - 31)."""

    integer: int
    shift: int


def multiplier_of(real: float) -> Multiplier:
    """The multiplier nearest to a positive number, as QuantizeMultiplier of TFLite's quantization_util.cc finds it."""
    fraction, shift = math.frexp(real)
    integer = math.floor(fraction * 2**BITS + 0.5)
    if integer == 2**BITS:
        integer, shift = integer // 2, shift + 1
    return Multiplier(0, 0) if shift < -BITS else Multiplier(integer, shift)


def multiplied(values: Tensor, integers: Tensor | int, shifts: Tensor | int, ties: Ties) -> Tensor:
    """`values` times the multipliers, rounded twice: TFLite's MultiplyByQuantizedMultiplier."""
    import torch

    shift = torch.as_tensor(shifts)
    raised = values << shift.clamp(min=0)
    return divided(high_product(raised, integers), -shift.clamp(max=0), ties)


def high_product(values: Tensor, integers: Tensor | int) -> Tensor:
    """`values` times integers / 2^31, rounded to the nearest, halves up."""
    return (values * integers + (1 << (BITS - 1))) >> BITS


def divided(values: Tensor, powers: Tensor | int, ties: Ties) -> Tensor:
    """`values` / 2^powers, rounded to the nearest."""
    import torch

    power = torch.as_tensor(powers)
    half = (1 << power) >> 1
    if ties is Ties.AWAY:
        half = torch.where((values < 0) & (power > 0), half - 1, half)
    return (values + half) >> power
