"""Zeros that an optimizer can't move."""

from __future__ import annotations

import torch
from edgewright.training.masks import Masks
from torch import nn


def test_what_was_zero_is_zero_again_and_the_rest_is_left_alone() -> None:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[0, :2] = 0
    masks = Masks(layer, ["weight"])
    with torch.no_grad():
        layer.weight.fill_(3)
        layer.bias.fill_(5)
    masks.apply()
    assert layer.weight.tolist() == [[0, 0, 3, 3], [3, 3, 3, 3]]
    assert layer.bias.tolist() == [5, 5]


def test_no_names_hold_nothing() -> None:
    layer = nn.Linear(2, 2)
    masks = Masks(layer, [])
    with torch.no_grad():
        layer.weight.fill_(1)
    masks.apply()
    assert bool((layer.weight == 1).all())


def test_weights_that_two_modules_share_are_found_by_either_name() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    with torch.no_grad():
        first.weight[0] = 0
    masks = Masks(nn.Sequential(first, second), ["0.weight", "1.weight"])
    with torch.no_grad():
        first.weight.fill_(1)
    masks.apply()
    assert second.weight.tolist() == [[0, 0], [1, 1]]
