"""Grids of integers that stand for real values: value = (integer - zero point) * scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_INT32_ROOM = 2.0**30
"""Biases take at most half of int32; the rest is for the sum that they are added to."""
_LIMITS = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
SMALLEST_SCALE = 2.0**-126
"""The smallest normal float32. What is smaller may be flushed to zero, and nothing can be divided by that."""
ONE_BIT = 0
"""The limit of weights of one bit, 2^(bits-1) - 1 as of others; what they are is -1 or 1, and 0 where they were."""


@dataclass(frozen=True)
class Grid:
    """Which integers an activation may be (uint8, int8, int16), and whether its zero point is fixed in their middle."""

    dtype: str
    symmetric: bool
    power_of_two: bool = False
    """Whether scales are powers of two, so that a value is an integer with so many bits behind the point (Qm.n)."""


@dataclass(frozen=True)
class ActivationGrid:
    """One tensor's grid."""

    scale: float
    zero_point: int
    lowest: int
    highest: int
    dtype: str


def activation_grid(low: float, high: float, grid: Grid) -> ActivationGrid:
    """The grid that holds [low, high] (zero lies in it), with zero exactly on it and a scale that is normal in float32.

    The scale is rounded so that the last step of a one-sided range never lies beyond `high`: a runtime may then see
    that an activation which ends there (ReLU6) is done by the rounding itself.
    """
    import numpy as np

    lowest, highest = _LIMITS[grid.dtype]
    if high - low > 0 and grid.power_of_two:
        return _fixed_point(low, high, grid)
    if high - low <= 0:
        return ActivationGrid(
            1.0, (lowest + highest + 1) // 2 if grid.symmetric else lowest, lowest, highest, grid.dtype
        )
    if grid.symmetric:
        middle = (lowest + highest + 1) // 2
        scale = np.float32(max(-low, high) / (highest - middle))
        scale = max(scale, np.float32(SMALLEST_SCALE))
        return ActivationGrid(float(scale), middle, lowest, highest, grid.dtype)
    steps = np.float32(highest - lowest)
    scale = np.float32((high - low) / (highest - lowest))
    if low == 0 and scale * steps > np.float32(high):
        scale = np.nextafter(scale, np.float32(0))
    scale = max(scale, np.float32(SMALLEST_SCALE))
    zero_point = int(np.clip(np.round(lowest - low / float(scale)), lowest, highest))
    return ActivationGrid(float(scale), zero_point, lowest, highest, grid.dtype)


def _fixed_point(low: float, high: float, grid: Grid) -> ActivationGrid:
    """The finest grid of a power of two that holds [low, high]."""
    import numpy as np

    lowest, highest = _LIMITS[grid.dtype]
    middle = (lowest + highest + 1) // 2
    width = max(-low, high) / (highest - middle) if grid.symmetric else (high - low) / (highest - lowest)
    scale = max(2.0 ** np.ceil(np.log2(width)), SMALLEST_SCALE)
    zero_point = middle if grid.symmetric else int(np.clip(np.round(lowest - low / scale), lowest, highest))
    return ActivationGrid(float(scale), zero_point, lowest, highest, grid.dtype)


def fraction_bits(scale: float) -> int:
    """How many bits stand behind the point where the scale is a power of two: the n of Qm.n."""
    import math

    return 1 - math.frexp(scale)[1]


def bounds_of(grid: ActivationGrid, is_symmetric: bool) -> tuple[float, float]:
    """The range [low, high] for which `activation_grid` gives this very grid, to the bit."""
    if is_symmetric:
        reach = (grid.highest - grid.zero_point) * grid.scale
        return -reach, reach
    return (grid.lowest - grid.zero_point) * grid.scale, (grid.highest - grid.zero_point) * grid.scale


def integers(ratio: Tensor, limit: int) -> Tensor:
    """Weights over their scale as whole numbers within `limit`; with ONE_BIT their signs."""
    return ratio.sign() if limit == ONE_BIT else ratio.round().clamp(-limit, limit)


def weight_scales(weight: Tensor, limit: int, granularity: str, floor: Tensor, *, power_of_two: bool = False) -> Tensor:
    """One scale per output channel (axis 0), normal and never below `floor` (C,); all equal where per-tensor.

    With ONE_BIT as limit it is the mean size of the weights that are not zero, the nearest to them that one value and
    its negative come (Rastegari et al. 2016, "XNOR-Net", arXiv:1603.05279, section 3.1).
    With `power_of_two` each is the next power of two.
    A channel without weights, or with none that a normal scale could hold, has the scale 1.
    """
    import torch

    sizes = weight.reshape(len(weight), -1).abs()
    mean = sizes.sum(1) / (sizes > 0).sum(1).clamp(min=1)
    scales = torch.maximum(mean if limit == ONE_BIT else sizes.amax(1) / limit, floor)
    if granularity == "per-tensor":
        scales = scales.max().expand_as(scales).clone()
    if power_of_two:
        parts, exponents = torch.frexp(scales)
        scales = torch.ldexp(torch.ones_like(scales), exponents - (parts == 0.5).int())
    return torch.where(scales >= SMALLEST_SCALE, scales, torch.ones_like(scales))


def bias_steps(largest: Tensor, input_scale: float) -> Tensor:
    """The least weight scale per channel with which a bias as large as `largest` (C,) fits into int32."""
    return (largest.double() / (input_scale * _INT32_ROOM)).float()
