"""Fake quantization: values are rounded to their grid, and gradients pass as if they were not.

Forward, each of these gives bit for bit what the quantize and dequantize nodes of insert-quantization give. Backward,
a value on its grid hands its gradient on and one beyond the grid's ends does not (straight-through), and a step size
that is learned gets the gradient of LSQ (Esser et al. 2020, arXiv:1902.08153).

Learned step sizes are held as logarithms of what they have become times what they were (Jain et al. 2020,
arXiv:1903.08066), so that they stay positive and a learning rate means the same for all of them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .grids import ONE_BIT, SMALLEST_SCALE, ActivationGrid, Grid, activation_grid, bounds_of, weight_scales

if TYPE_CHECKING:
    from torch import Tensor

AVERAGED_PART = 0.01
"""What the newest batch counts for in a moving average of ranges."""


def fake_quantize(
    values: Tensor, scale: Tensor, ratio: Tensor, lowest: int, highest: int, gradient_scale: float = 1.0
) -> Tensor:
    """`values` on the grid of `scale`, which broadcasts to them and gets its gradient times `gradient_scale`.

    `ratio` is values / scale, worked out as the runtime does; `lowest` and `highest` count from the zero point. Where
    both are ONE_BIT, values become their signs, and those above the scale hand no gradient on.
    """
    rounded: Tensor = _rounding().apply(values, scale, ratio, lowest, highest, gradient_scale)
    return rounded


def gradient_scale(count: int, highest: int) -> float:
    """LSQ's 1 / sqrt(N Qp): N values (of one sample, or of the weights) on a grid whose largest integer is Qp."""
    return 1 / math.sqrt(max(count, 1) * max(highest, 1))


def learned_range(grid: ActivationGrid, is_symmetric: bool, is_fixed: bool = False) -> Any:
    """A module for a tensor that starts on `grid` and learns its step, unless it is fixed; its zero point stays."""
    return _learned_range()(grid, is_symmetric, is_fixed)


def averaged_range(low: float, high: float, form: Grid) -> Any:
    """A module for a tensor whose range starts at [low, high] and follows the batches' extremes that it sees.

    Each training batch counts for a hundredth (Jacob et al. 2018, arXiv:1712.05877).
    """
    return _averaged_range()(low, high, form)


def learned_weight(scales: Tensor, floor: Tensor, axis: int, limit: int, is_per_tensor: bool) -> Any:
    """A module for weights whose scales (C,) start as given and are learned, each or all as one, above `floor` (C,)."""
    return _learned_weight()(scales, floor, axis, limit, is_per_tensor)


def largest_weight(floor: Tensor, axis: int, limit: int, granularity: str) -> Any:
    """A module for weights whose scales are always those that insert-quantization would give them."""
    return _largest_weight()(floor, axis, limit, granularity)


def rounded_bias(weight: Any, input_range: Any) -> Any:
    """A module for a bias in int32 on the grid of its layer's input step times the scales of `weight`, which ran."""
    return _rounded_bias()(weight, input_range)


@functools.cache
def _rounding() -> Any:
    import torch

    class Rounding(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, values: Tensor, scale: Tensor, ratio: Tensor, lowest: int, highest: int, factor: float
        ) -> Tensor:
            ctx.save_for_backward(scale, ratio)
            ctx.ends, ctx.factor = (lowest, highest), factor
            whole = ratio.sign() if lowest == highest == ONE_BIT else ratio.round().clamp_(lowest, highest)
            return whole.to(values.dtype) * scale

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
            (gradient,), (scale, ratio), (lowest, highest) = gradients, ctx.saved_tensors, ctx.ends
            if lowest == highest == ONE_BIT:
                whole, is_inside = ratio.sign(), ratio.abs() <= 1
            else:
                whole = ratio.round()
                is_inside = (whole >= lowest) & (whole <= highest)
                whole.clamp_(lowest, highest)
            to_scale = None
            if ctx.needs_input_grad[1]:
                slope = torch.where(is_inside, whole - ratio, whole)
                to_scale = (gradient * slope).sum_to_size(scale.shape) * ctx.factor
            return gradient * is_inside, to_scale, None, None, None, None

    return Rounding


def _on_grid(values: Tensor, grid: ActivationGrid, step: Tensor) -> Tensor:
    """The values on the grid, in which `step` stands for the scale."""
    lowest, highest = grid.lowest - grid.zero_point, grid.highest - grid.zero_point
    ratio = values.detach() * (1 / step.detach().double()).float()
    features = values.numel() // max(len(values), 1)
    return fake_quantize(values, step, ratio, lowest, highest, gradient_scale(features, highest))


def _on_channel_grids(values: Tensor, scales: Tensor, axis: int, limit: int) -> Tensor:
    """The weights on the grids of their channels."""
    aligned = scales.reshape([-1 if index == axis else 1 for index in range(values.dim())])
    ratio = values.detach() / aligned.detach()
    return fake_quantize(values, aligned, ratio, -limit, limit, gradient_scale(values.numel(), limit))


@functools.cache
def _learned_range() -> Any:
    import torch
    from torch import nn

    class LearnedRange(nn.Module):
        def __init__(self, grid: ActivationGrid, is_symmetric: bool, is_fixed: bool) -> None:
            super().__init__()
            self.start, self.is_symmetric, self.is_frozen = grid, is_symmetric, False
            self.log_step = nn.Parameter(torch.zeros(()), requires_grad=not is_fixed)

        def _step(self) -> Tensor:
            step = (self.log_step.exp() * self.start.scale).clamp(min=SMALLEST_SCALE)
            return step.detach() if self.is_frozen else step

        def grid(self) -> ActivationGrid:
            return replace(self.start, scale=float(self._step().detach()))

        def bounds(self) -> tuple[float, float]:
            return bounds_of(self.grid(), self.is_symmetric)

        def forward(self, values: Tensor) -> Tensor:
            return _on_grid(values, self.start, self._step())

    return LearnedRange


@functools.cache
def _averaged_range() -> Any:
    import torch
    from torch import nn

    class AveragedRange(nn.Module):
        low: Tensor
        high: Tensor

        def __init__(self, low: float, high: float, form: Grid) -> None:
            super().__init__()
            self.form, self.is_frozen = form, False
            self.register_buffer("low", torch.tensor(low, dtype=torch.float64))
            self.register_buffer("high", torch.tensor(high, dtype=torch.float64))

        def grid(self) -> ActivationGrid:
            return activation_grid(*self.bounds(), self.form)

        def bounds(self) -> tuple[float, float]:
            return float(self.low), float(self.high)

        def forward(self, values: Tensor) -> Tensor:
            if self.training and not self.is_frozen:
                low, high = values.detach().aminmax()
                self.low += AVERAGED_PART * (low.clamp(max=0) - self.low)
                self.high += AVERAGED_PART * (high.clamp(min=0) - self.high)
            grid = self.grid()
            return _on_grid(values, grid, torch.tensor(grid.scale, device=values.device))

    return AveragedRange


@functools.cache
def _learned_weight() -> Any:
    import torch
    from torch import nn

    class LearnedWeight(nn.Module):
        start: Tensor
        floor: Tensor

        def __init__(self, scales: Tensor, floor: Tensor, axis: int, limit: int, is_per_tensor: bool) -> None:
            super().__init__()
            self.axis, self.limit, self.is_frozen = axis, limit, False
            self.register_buffer("start", scales.clone())
            self.register_buffer("floor", floor.clamp(min=SMALLEST_SCALE))
            self.log_step = nn.Parameter(torch.zeros(1 if is_per_tensor else len(scales)))

        def scales(self, weight: Tensor) -> Tensor:
            scales = torch.maximum(self.log_step.exp() * self.start, self.floor)
            return scales.detach() if self.is_frozen else scales

        def forward(self, values: Tensor) -> Tensor:
            scales = self.scales(values)
            self.latest = scales.detach()
            return _on_channel_grids(values, scales, self.axis, self.limit)

    return LearnedWeight


@functools.cache
def _largest_weight() -> Any:
    from torch import nn

    class LargestWeight(nn.Module):
        floor: Tensor

        def __init__(self, floor: Tensor, axis: int, limit: int, granularity: str) -> None:
            super().__init__()
            self.axis, self.limit, self.granularity, self.is_frozen = axis, limit, granularity, False
            self.register_buffer("floor", floor)

        def scales(self, weight: Tensor) -> Tensor:
            return weight_scales(weight.detach().transpose(0, self.axis), self.limit, self.granularity, self.floor)

        def forward(self, values: Tensor) -> Tensor:
            self.latest = self.scales(values)
            return _on_channel_grids(values, self.latest, self.axis, self.limit)

    return LargestWeight


@functools.cache
def _rounded_bias() -> Any:
    from torch import nn

    class RoundedBias(nn.Module):
        def __init__(self, weight: Any, input_range: Any) -> None:
            super().__init__()
            self._beside = (weight, input_range)  # in a tuple: they are submodules elsewhere

        def forward(self, values: Tensor) -> Tensor:
            weight, input_range = self._beside
            grid = (weight.latest.double() * input_range.grid().scale).float().clamp(min=SMALLEST_SCALE)
            grid = grid.repeat(len(values) // len(grid))
            limit = 2**31 - 1
            return fake_quantize(values, grid, values.detach().double() / grid.double(), -limit, limit)

    return RoundedBias
