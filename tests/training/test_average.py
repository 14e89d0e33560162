"""Moving averages of weights, beside hand-computed ones."""

from __future__ import annotations

import pytest
import torch
from edgewright.training.average import Average
from torch import nn


def filled(value: float) -> nn.Module:
    module = nn.BatchNorm1d(1)
    nn.init.constant_(module.weight, value)
    return module


def test_each_step_has_its_weight_and_the_first_ones_more() -> None:
    module = filled(0.0)
    average = Average(module, 0.3)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        nn.init.constant_(module.weight, value)
        average.update(step)
        decay = [1 / 10, 2 / 11, 3 / 12, 0.3][step]  # (1 + steps) / (10 + steps), until that is more than 0.3
        expected = decay * expected + (1 - decay) * value
    assert float(average.values["weight"]) == pytest.approx(expected)


def test_whole_numbers_are_the_last_ones() -> None:
    module = filled(1.0)
    average = Average(module, 0.9)
    module.num_batches_tracked.fill_(7)
    average.update(100)
    assert int(average.values["num_batches_tracked"]) == 7


def test_the_average_is_in_place_for_a_while() -> None:
    module = filled(3.0)
    average = Average(module, 0.9)
    nn.init.constant_(module.weight, 5.0)
    with average.in_place():
        assert module.weight.item() == 3.0
    assert module.weight.item() == 5.0


def test_an_average_goes_on_from_another() -> None:
    first, second = Average(filled(3.0), 0.9), Average(filled(4.0), 0.9)
    second.load(first.values)
    assert torch.equal(second.values["weight"], first.values["weight"])
    first.update(0)
    assert float(second.values["weight"]) == 3.0
