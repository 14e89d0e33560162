"""Fake quantization: the forward pass of the nodes, gradients as the papers and torch have them, grids that learn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from edgewright.ir.state import register_quantized_operators
from edgewright.quantization.fake_quantize import (
    averaged_range,
    fake_quantize,
    gradient_scale,
    largest_weight,
    learned_range,
    learned_weight,
    rounded_bias,
)
from edgewright.quantization.grids import ONE_BIT, ActivationGrid, Grid, activation_grid, weight_scales
from torch import Tensor

GRIDS = [Grid("uint8", False), Grid("uint8", True), Grid("int8", False), Grid("int8", True)]
STEP = 0.125
"""A power of two: dividing by it rounds nothing, so that others' ways of dividing give the same bits."""
any_grid = pytest.mark.parametrize("form", GRIDS, ids=lambda grid: f"{grid.dtype}{'-symmetric' * grid.symmetric}")


def values(*shape: int, seed: int = 0) -> Tensor:
    """Random values, some of them beyond a grid of 256 steps of STEP."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 10


def test_the_gradients_of_a_case_worked_out_by_hand() -> None:
    """On -4..3 with the step 0.5, the integers are 1, 0, 3 (of 10) and -4 (of -10).

    The step's slope is integer - ratio on the grid (-0.2 and -0.4), and the end where a value lies beyond it.
    """
    given = torch.tensor([0.6, 0.2, 5.0, -5.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    upstream = torch.tensor([1.0, 2.0, 10.0, 100.0])
    found = fake_quantize(given, step, given.detach() / step.detach(), -4, 3, gradient_scale=0.25)
    assert found.tolist() == [0.5, 0.0, 1.5, -2.0]
    (found * upstream).sum().backward()
    assert given.grad is not None
    assert step.grad is not None
    assert given.grad.tolist() == [1.0, 2.0, 0.0, 0.0]
    by_hand = 0.25 * (1 * -0.2 + 2 * -0.4 + 10 * 3 + 100 * -4)
    torch.testing.assert_close(step.grad, torch.tensor(by_hand))


def test_weights_of_one_bit_are_their_signs_and_learn_up_to_their_scale() -> None:
    """With the scale 0.5: -1, 1, 0 and 1; the step's slope is sign - ratio up to the scale, and the sign beyond it."""
    given = torch.tensor([-0.1, 0.4, 0.0, 3.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    upstream = torch.tensor([1.0, 2.0, 10.0, 100.0])
    found = fake_quantize(given, step, given.detach() / step.detach(), -ONE_BIT, ONE_BIT)
    assert found.tolist() == [-0.5, 0.5, 0.0, 0.5]
    (found * upstream).sum().backward()
    assert given.grad is not None
    assert given.grad.tolist() == [1.0, 2.0, 10.0, 0.0]
    torch.testing.assert_close(step.grad, torch.tensor(1 * (-1 + 0.2) + 2 * (1 - 0.8) + 100 * 1.0))


def test_the_gradient_scale_is_that_of_the_paper() -> None:
    assert gradient_scale(100, 4) == 1 / 20
    assert gradient_scale(0, 0) == 1.0


@pytest.mark.parametrize(("zero_point", "lowest", "highest"), [(0, -128, 127), (30, 0, 255), (0, -7, 7)])
def test_forward_and_gradients_are_those_of_torch(zero_point: int, lowest: int, highest: int) -> None:
    ours, theirs = (values(40, 30).requires_grad_() for _ in range(2))
    step, their_step = (torch.tensor([STEP], requires_grad=True) for _ in range(2))
    factor = gradient_scale(30, highest - zero_point)
    found = fake_quantize(
        ours, step, ours.detach() / STEP, lowest - zero_point, highest - zero_point, gradient_scale=factor
    )
    operator: Any = torch._fake_quantize_learnable_per_tensor_affine
    zero = torch.tensor([float(zero_point)])
    expected = operator(theirs, their_step, zero, lowest, highest, factor)
    plain = torch.fake_quantize_per_tensor_affine(theirs.detach(), STEP, zero_point, lowest, highest)
    assert torch.equal(found, expected)
    assert torch.equal(found.detach(), plain)
    upstream = values(40, 30, seed=1)
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    assert 0 < int((ours.grad == 0).sum()) < 1200
    torch.testing.assert_close(step.grad, their_step.grad)


def test_weights_by_channel_are_those_of_torch() -> None:
    ours, theirs = (values(6, 4, 3, 3).requires_grad_() for _ in range(2))
    scales = torch.tensor([0.5, 0.25, 0.125, 1.0, 2.0, 0.0625])
    module = learned_weight(scales, torch.zeros(6), 0, 127, is_per_tensor=False)
    their_scales = scales.clone().requires_grad_()
    operator: Any = torch._fake_quantize_learnable_per_channel_affine
    factor = gradient_scale(ours.numel(), 127)
    expected = operator(theirs, their_scales, torch.zeros(6), 0, -127, 127, factor)
    found = module(ours)
    assert torch.equal(found, expected)
    upstream = values(6, 4, 3, 3, seed=1)
    (found * upstream).sum().backward()
    (expected * upstream).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    torch.testing.assert_close(module.log_step.grad, their_scales.grad * scales)  # d scale / d log scale is the scale


def nodes(given: Tensor, grid: ActivationGrid) -> Tensor:
    """What the operators make of a tensor that insert-quantization puts there."""
    register_quantized_operators()
    operators = torch.ops.quantized_decomposed
    form = (grid.scale, grid.zero_point, grid.lowest, grid.highest, getattr(torch, grid.dtype))
    found: Tensor = operators.dequantize_per_tensor(operators.quantize_per_tensor(given, *form), *form)
    return found


@any_grid
def test_ranges_compute_what_the_nodes_compute_to_the_bit(form: Grid) -> None:
    low, high = -3.3, 7.1
    grid = activation_grid(low, high, form)
    ties = torch.arange(-600.0, 600.0) * (grid.scale / 2)
    given = torch.cat([ties, values(5000)]).reshape(10, -1)
    assert torch.equal(learned_range(grid, form.symmetric)(given), nodes(given, grid))
    assert torch.equal(averaged_range(low, high, form).eval()(given), nodes(given, grid))


@any_grid
@pytest.mark.parametrize("log_step", [-1.37, 0.0, 0.31, -200.0])
def test_what_was_learned_is_what_its_bounds_give_back(form: Grid, log_step: float) -> None:
    module = learned_range(activation_grid(-3.3, 7.1, form), form.symmetric)
    with torch.no_grad():
        module.log_step.fill_(log_step)
    assert activation_grid(*module.bounds(), form) == module.grid()
    assert module.grid().zero_point == activation_grid(-3.3, 7.1, form).zero_point


def test_a_step_learns_until_it_is_frozen_and_a_fixed_one_never() -> None:
    grid = activation_grid(0.0, 4.0, Grid("uint8", False))
    module, fixed = learned_range(grid, False), learned_range(grid, False, is_fixed=True)
    given = values(4, 8).requires_grad_()
    module(given).sum().backward()
    assert float(module.log_step.grad) != 0
    module.is_frozen, module.log_step.grad = True, None
    (module(given) + fixed(given)).sum().backward()
    assert module.log_step.grad is None
    assert fixed.log_step.grad is None


def test_averaged_ranges_follow_training_batches_alone_until_they_are_frozen() -> None:
    module = averaged_range(-1.0, 1.0, Grid("int8", False)).train()
    module(torch.tensor([[-2.0, 5.0], [0.0, 1.0]]))
    assert module.bounds() == (-1.0 + 0.01 * (-2.0 + 1.0), 1.0 + 0.01 * (5.0 - 1.0))
    module(torch.tensor([[1.0, 2.0]]))  # zero stays within the range
    after = module.bounds()
    assert after[0] == -1.01 + 0.01 * 1.01
    module.eval()(torch.tensor([[100.0]]))
    module.is_frozen = True
    module.train()(torch.tensor([[100.0]]))
    assert module.bounds() == after


@pytest.mark.parametrize(("granularity", "axis"), [("per-channel", 0), ("per-channel", 1), ("per-tensor", 0)])
def test_the_largest_weights_give_the_scales_that_are_inserted(granularity: str, axis: int) -> None:
    weight, floor = values(4, 4, 3), torch.tensor([0.0, 9.0, 0.0, 0.0])
    module = largest_weight(floor, axis, 7, granularity)
    scales = module.scales(weight)
    assert torch.equal(scales, weight_scales(weight.transpose(0, axis), 7, granularity, floor))
    aligned = scales.reshape([-1 if index == axis else 1 for index in range(3)])
    assert torch.equal(module(weight), (weight / aligned).round().clamp(-7, 7) * aligned)


def test_learned_scales_of_weights_stay_above_their_floor_and_are_one_where_asked_for() -> None:
    module = learned_weight(torch.full((3,), 0.5), torch.tensor([0.1, 0.4, 0.0]), 0, 7, is_per_tensor=False)
    single = learned_weight(torch.full((3,), 0.5), torch.zeros(3), 0, 7, is_per_tensor=True)
    with torch.no_grad():
        module.log_step.fill_(math.log(0.5))
        single.log_step.fill_(math.log(3))
    torch.testing.assert_close(module.scales(values(3, 2)), torch.tensor([0.25, 0.4, 0.25]))
    assert single.log_step.shape == (1,)
    assert len(single.scales(values(3, 2)).unique()) == 1
    module.is_frozen = True
    assert not module.scales(values(3, 2)).requires_grad


def test_a_bias_is_what_its_int32_is_worth() -> None:
    register_quantized_operators()
    weight, grid = values(3, 2), activation_grid(0.0, 1.3, Grid("uint8", False))
    module = largest_weight(torch.zeros(3), 0, 127, "per-channel")
    bias = (values(3, seed=2) * 1e-3).requires_grad_()
    module(weight)
    found = rounded_bias(module, learned_range(grid, False))(bias)
    steps = (module.latest.double() * grid.scale).float()
    codes = (bias.detach().double() / steps.double()).round().to(torch.int32)
    zeros, limit = torch.zeros(3, dtype=torch.int64), 2**31 - 1
    dequantize = torch.ops.quantized_decomposed.dequantize_per_channel
    assert torch.equal(found, dequantize(codes, steps, zeros, 0, -limit, limit, torch.int32))
    found.sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [1.0, 1.0, 1.0]
