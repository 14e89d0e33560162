"""Learned rounding: the formulas against values by hand, and the integers against all that there are."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from edgewright.quantization.adaround import (
    Layer,
    Options,
    beta_at,
    error_of,
    learn_rounding,
    nearest,
    stretched,
    undecided,
    unstretched,
)
from torch import Tensor

OPTIONS = Options(iterations=300, batch_size=64, learning_rate=0.02, regularization=0.1, warm_start=0.2)


def layer_of(weight: Tensor, inputs: Tensor, scale: float, limit: int = 7) -> Layer:
    """A linear layer (out, in) with one scale, and what it gives in float."""
    scales = torch.full((len(weight), 1), scale)
    return Layer(weight, scales, limit, torch.nn.functional.linear, inputs, inputs @ weight.T)


def correlated() -> Layer:
    """Six inputs that move together, so that errors of weights add up unless they are rounded against each other."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(512, 1, generator=generator)
    inputs = common + 0.1 * torch.randn(512, 6, generator=generator)
    return layer_of(torch.tensor([[0.4, 1.4, -0.6, 2.4, -1.6, 0.45]]), inputs, 1.0)


def test_the_sigmoid_is_stretched_and_cut() -> None:
    """Equation 23: 1.2 sigmoid(v) - 0.1, between 0 and 1."""
    found = stretched(torch.tensor([0.0, 1.0, -10.0, 10.0]))
    expected = torch.tensor([0.5, 1.2 / (1 + math.exp(-1)) - 0.1, 0.0, 1.0])
    torch.testing.assert_close(found, expected)
    parts = torch.tensor([0.0, 0.25, 0.5, 0.99])
    torch.testing.assert_close(stretched(unstretched(parts)), parts)


def test_what_is_between_two_integers_costs() -> None:
    """Equation 24: 1 - |2h - 1|^beta: nothing at 0 and 1, one in the middle, 1 - 0.5^2 at a quarter."""
    assert float(undecided(torch.tensor([0.0, 1.0, 0.5, 0.25]), 2.0)) == 1.75


def test_the_exponent_falls_after_the_warm_start() -> None:
    options = replace(OPTIONS, iterations=100)
    assert [beta_at(at, options) for at in (0, 19)] == [None, None]
    assert beta_at(20, options) == 20.0
    assert beta_at(60, options) == pytest.approx(11.0)
    falling = [beta_at(at, options) or 0 for at in range(20, 100)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] > 2.0


def test_learned_integers_are_in_the_better_half_of_all_and_the_nearest_are_not() -> None:
    layer = correlated()
    floors = layer.weight.floor()
    every = (floors + torch.tensor(choice) for choice in itertools.product((0.0, 1.0), repeat=6))
    errors = sorted(error_of(layer, integers, 64) for integers in every)
    learned = learn_rounding(layer, OPTIONS, 0, lambda: None)
    assert learned.error == error_of(layer, learned.integers, 64)
    assert learned.error < errors[len(errors) // 2] < learned.nearest_error
    assert learned.flipped == int((learned.integers != nearest(layer)).sum()) > 0
    assert bool(((learned.integers - layer.weight).abs() < 1).all())


def test_zeros_stay_and_integers_stay_within_the_limit() -> None:
    layer = correlated()
    weight = layer.weight.clone()
    weight[0, 1], weight[0, 3] = 0.0, 9.7
    layer = replace(layer, weight=weight, wanted=layer.inputs @ weight.T)
    found = learn_rounding(layer, OPTIONS, 0, lambda: None).integers
    assert found[0, 1] == 0
    assert found[0, 3] == layer.limit


def test_what_lies_on_the_grid_stays_as_it_is() -> None:
    inputs = torch.randn(32, 3, generator=torch.Generator().manual_seed(1))
    layer = layer_of(torch.tensor([[1.0, -2.0, 3.0]]), inputs, 0.5)
    learned = learn_rounding(layer, OPTIONS, 0, lambda: None)
    assert (learned.flipped, learned.error) == (0, 0.0)
    assert learned.integers.tolist() == [[2.0, -4.0, 6.0]]


def test_the_same_seed_gives_the_same_integers_and_every_iteration_is_told() -> None:
    told: list[None] = []
    first = learn_rounding(correlated(), OPTIONS, 3, lambda: told.append(None))
    second = learn_rounding(correlated(), OPTIONS, 3, lambda: None)
    assert torch.equal(first.integers, second.integers)
    assert len(told) == OPTIONS.iterations
