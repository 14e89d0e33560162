"""Grids: zero lies on them, no value inside the range moves by more than half a step, and float32 holds the scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edgewright.quantization.grids import (
    ONE_BIT,
    ActivationGrid,
    Grid,
    activation_grid,
    bias_steps,
    bounds_of,
    fraction_bits,
    integers,
    weight_scales,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

GRIDS = [Grid("uint8", False), Grid("uint8", True), Grid("int8", False), Grid("int8", True)]
LIMITS = {7: 63, 8: 127}
FLOAT32 = np.finfo(np.float32)
SIDE = st.one_of(st.just(0.0), st.floats(0, float(FLOAT32.max), width=32))
"""How far a range reaches to one side of zero: not at all, or any float32 far, the smallest and largest among them."""
any_grid = pytest.mark.parametrize("grid", GRIDS, ids=lambda grid: f"{grid.dtype}{'-symmetric' * grid.symmetric}")


def on(grid: ActivationGrid, value: float) -> float:
    """What the grid makes of a value, computed in double precision."""
    code = np.clip(np.round(value / grid.scale) + grid.zero_point, grid.lowest, grid.highest)
    return float((code - grid.zero_point) * grid.scale)


@any_grid
@given(below=SIDE, above=SIDE)
def test_zero_lies_on_every_grid_and_float32_holds_its_scale(grid: Grid, below: float, above: float) -> None:
    found = activation_grid(-below, above, grid)
    assert on(found, 0.0) == 0.0
    assert found.lowest <= found.zero_point <= found.highest
    assert found.scale == np.float32(found.scale)
    assert FLOAT32.smallest_normal <= found.scale < np.inf


@any_grid
@given(below=SIDE, above=SIDE, part=st.floats(0, 1))
def test_no_value_of_the_range_moves_by_more_than_half_a_step(
    grid: Grid, below: float, above: float, part: float
) -> None:
    found = activation_grid(-below, above, grid)
    value = -below + part * (below + above)
    rounding_of_scale = 256 * FLOAT32.eps
    assert abs(on(found, value) - value) <= found.scale * (0.5 + rounding_of_scale)


@given(above=st.floats(float(FLOAT32.smallest_normal) * 1e3, float(FLOAT32.max), width=32))
def test_the_last_step_of_a_one_sided_range_is_not_beyond_its_end(above: float) -> None:
    found = activation_grid(0.0, above, Grid("uint8", False))
    assert np.float32(found.scale) * np.float32(255) <= np.float32(above)
    assert found.zero_point == 0


@pytest.mark.parametrize(("dtype", "middle"), [("uint8", 128), ("int8", 0)])
def test_a_symmetric_grid_has_its_zero_in_the_middle(dtype: str, middle: int) -> None:
    for low, high in [(-1.0, 0.25), (-0.25, 1.0), (0.0, 1.0), (0.0, 0.0)]:
        assert activation_grid(low, high, Grid(dtype, True)).zero_point == middle
    assert activation_grid(-1.0, 0.25, Grid(dtype, True)).scale == np.float32(1 / 127)


def test_an_asymmetric_grid_spends_all_its_steps_on_the_range() -> None:
    found = activation_grid(-1.0, 3.0, Grid("int8", False))
    assert (found.scale, found.zero_point) == (np.float32(4 / 255), -64)
    assert (found.lowest, found.highest, found.dtype) == (-128, 127, "int8")


def weights(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Weights whose channels differ in size by up to a factor of a thousand."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 10 ** (3 * torch.rand(shape[0], generator=generator))
    return torch.randn(shape, generator=generator) * sizes.reshape(-1, *[1] * (len(shape) - 1))


@pytest.mark.parametrize("bits", LIMITS)
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (8, 16), (8, 1, 5)])
def test_weights_fill_their_bits_and_move_by_half_a_step_at_most(
    bits: int, granularity: str, shape: tuple[int, ...]
) -> None:
    values, limit = weights(shape), LIMITS[bits]
    scales = weight_scales(values, limit, granularity, torch.zeros(shape[0]))
    steps = values / scales.reshape(-1, *[1] * (len(shape) - 1))
    largest = steps.reshape(shape[0], -1).abs().amax(1).round()
    assert largest.max() == limit
    assert granularity == "per-tensor" or bool((largest == limit).all())
    assert len(scales.unique()) == (1 if granularity == "per-tensor" else shape[0])


def test_weights_of_one_bit_have_the_scale_that_no_other_is_nearer_with() -> None:
    values = weights((4, 60))
    values[:, :20] = 0
    scales = weight_scales(values, ONE_BIT, "per-channel", torch.zeros(4))

    def apart(tried: Tensor) -> Tensor:
        return ((values - integers(values / tried[:, None], ONE_BIT) * tried[:, None]) ** 2).sum(1)

    assert set(integers(values / scales[:, None], ONE_BIT).unique().tolist()) == {-1.0, 0.0, 1.0}
    assert bool((apart(scales) < torch.minimum(apart(scales * 0.99), apart(scales * 1.01))).all())


def test_channels_of_zeros_have_a_scale() -> None:
    values = weights((4, 3))
    values[2] = 0
    assert bool((weight_scales(values, 127, "per-channel", torch.zeros(4)) > 0).all())
    assert bool((weight_scales(torch.zeros(4, 3), 127, "per-tensor", torch.zeros(4)) > 0).all())


def test_a_floor_lifts_the_scales_below_it_and_no_others() -> None:
    values = weights((4, 3))
    free = weight_scales(values, 127, "per-channel", torch.zeros(4))
    floor = free * torch.tensor([0.5, 2.0, 0.0, 8.0])
    lifted = weight_scales(values, 127, "per-channel", floor)
    assert torch.equal(lifted / free, torch.tensor([1.0, 2.0, 1.0, 8.0]))


@pytest.mark.parametrize("largest", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("input_scale", [1e-9, 1e-2, 1e3])
def test_a_bias_on_the_least_scale_takes_half_of_int32(largest: float, input_scale: float) -> None:
    scale = bias_steps(torch.tensor([largest]), input_scale).double()
    steps = largest / (scale * input_scale)
    half = torch.tensor([2.0**30], dtype=torch.float64)
    assert torch.allclose(steps, half, rtol=float(FLOAT32.eps), atol=0)


@any_grid
@given(below=SIDE, above=SIDE)
def test_the_bounds_of_a_grid_give_it_back(grid: Grid, below: float, above: float) -> None:
    found = activation_grid(-below, above, grid)
    assert activation_grid(*bounds_of(found, grid.symmetric), grid) == found


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 1.0), (-0.3, 2.9), (-1e-3, 0.0)])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_fixed_point_has_the_finest_power_of_two_that_holds_the_range(
    low: float, high: float, dtype: str, symmetric: bool
) -> None:
    grid = activation_grid(low, high, Grid(dtype, symmetric, power_of_two=True))
    assert 2.0 ** -fraction_bits(grid.scale) == grid.scale
    reach = [(value - grid.zero_point) * grid.scale for value in (grid.lowest, grid.highest)]
    assert reach[0] - grid.scale / 2 <= low
    assert high <= reach[1] + grid.scale / 2
    finer = activation_grid(low, high, Grid(dtype, symmetric)).scale
    assert finer <= grid.scale < 2 * finer


def test_fixed_point_weights_have_the_next_power_of_two() -> None:
    weight = torch.tensor([[1.0], [0.9], [0.0], [127 / 64]])
    found = weight_scales(weight, 127, "per-channel", torch.zeros(4), power_of_two=True)
    assert found.tolist() == [2.0**-6, 2.0**-7, 1.0, 2.0**-6]
