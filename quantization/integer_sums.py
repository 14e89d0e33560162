"""What TFLite's own kernels compute between integers: exact sums, and how these are brought to the output's grid.

Codes are the int8 tensors behind quantize nodes; without their zero point they are centred. Sums hold integers below
2^53, in float64 where torch has no integer operator. The formulas are those of tflite-runtime 2.14; functions name
their files below tensorflow/lite/kernels. `placing` is the output's zero point, its lowest and its highest code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fixed_point import Ties, multiplied

if TYPE_CHECKING:
    from torch import Tensor

ADDEND_BITS = 20
"""Terms of a sum are raised by so many bits before they are rescaled."""
VECTOR_CHANNELS = 16
"""How many channels vector instructions average at a time; what is left over is averaged one by one."""
UNIT = 1 << 10
"""Places between two values are counted in so many parts."""
Placing = tuple[int, int, int]


def centred(codes: Tensor, zero_point: int) -> Tensor:
    """The codes without their zero point, in float64."""
    return codes.double() - zero_point


def rescaled(sums: Tensor, integers: Tensor | int, shifts: Tensor | int, ties: str, placing: Placing) -> Tensor:
    """The sums times their multipliers as codes; the multipliers are one, or have a shape that goes with the sums."""
    return _placed(multiplied(sums.long(), integers, shifts, Ties(ties)), placing)


def term(codes: Tensor, zero_point: int, integer: int, shift: int) -> Tensor:
    """One of a sum's two terms, on the grid that they have in common (internal/reference/add.h)."""
    raised = (codes.long() - zero_point) << ADDEND_BITS
    return multiplied(raised, integer, shift, Ties.AWAY)


def window_means(sums: Tensor, count: int, zero_point: int, placing: Placing) -> Tensor:
    """The means of windows of `count` codes, of centred sums, halves away from zero (integer_ops/pooling.h)."""
    totals = sums.long() + count * zero_point
    means = totals.sign() * ((totals.abs() + count // 2) // count)
    return _placed(means - placing[0], placing)


def image_means(codes: Tensor, integer: int, shift: int, is_vector: bool, placing: Placing) -> Tensor:
    """The means (N, C, 1, 1) of the codes, whose zero point is in that of `placing` (integer_ops/mean.h).

    `is_vector`: channels are taken by vector instructions, which put ties elsewhere.
    """
    import torch

    sums = codes.long().sum((2, 3), keepdim=True)
    split = sums.shape[1] // VECTOR_CHANNELS * VECTOR_CHANNELS if is_vector else 0
    parts = (sums[:, :split], Ties.UP), (sums[:, split:], Ties.AWAY)
    return _placed(torch.cat([multiplied(part, integer, shift, ties) for part, ties in parts], 1), placing)


def leaky(codes: Tensor, zero_point: int, above: tuple[int, int], below: tuple[int, int], placing: Placing) -> Tensor:
    """Values times one multiplier above zero and another below (internal/reference/leaky_relu.h)."""
    values = codes.long() - zero_point
    higher, lower = (multiplied(values, *each, Ties.AWAY) for each in (above, below))
    return _placed(higher.where(values >= 0, lower), placing)


def resized(codes: Tensor, height: int, width: int, is_aligned: bool) -> Tensor:
    """Images (N, C, H, W) in another size, by the nearest codes (internal/reference/resize_bilinear.h)."""
    import torch

    values = codes.long()
    for axis, size in ((2, height), (3, width)):
        lower, upper, parts = _places(values.shape[axis], size, is_aligned)
        part = torch.tensor(parts).reshape([-1, 1] if axis == 2 else [-1])
        before, behind = (values.index_select(axis, torch.tensor(each)) for each in (lower, upper))
        values = before * (UNIT - part) + behind * part
    means = values.sign() * ((values.abs() + UNIT * UNIT // 2) // (UNIT * UNIT))
    return means.to(torch.int8)


def _places(count: int, size: int, is_aligned: bool) -> tuple[list[int], list[int], list[int]]:
    """For each of `size` places between `count` values: the one before, the one behind, and how far it is from before.

    `is_aligned`: the first and the last places are the first and the last values.
    """
    if is_aligned and size > 1:
        step, first = ((count - 1) * UNIT + (size - 1) // 2) // (size - 1), 0
    else:
        step = (count * UNIT + size // 2) // size
        first = 0 if is_aligned else step // 2 - UNIT // 2
    places = [first + step * index for index in range(size)]
    lower = [min(max(place, 0) // UNIT, count - 1) for place in places]
    upper = [min((place + UNIT - 1) // UNIT, count - 1) for place in places]
    return lower, upper, [place - UNIT * each for place, each in zip(places, lower, strict=True)]


def _placed(values: Tensor, placing: Placing) -> Tensor:
    import torch

    zero_point, lowest, highest = placing
    return (values + zero_point).clamp(lowest, highest).to(torch.int8)
