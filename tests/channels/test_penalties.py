"""Penalties, computed by hand on a network of two tied layers."""

from __future__ import annotations

import pytest
import torch
from edgewright.channels.groups import ChannelGroup
from edgewright.channels.penalties import group_lasso, has_scales, slimming
from edgewright.channels.walk import find_groups
from torch import nn


def network(*, norm: bool = True) -> nn.Module:
    """Two channels: made by weights (3,) and (0,), scaled by -2 and 0.5, read by weights (4, 1)."""
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2) if norm else nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        module.get_parameter("0.weight").copy_(torch.tensor([3.0, 0.0]).reshape(2, 1, 1, 1))
        module.get_parameter("2.weight").copy_(torch.tensor([4.0, 0.0]).reshape(1, 2, 1, 1))
        if norm:
            module.get_parameter("1.weight").copy_(torch.tensor([-2.0, 0.0]))
    return module


def groups_of(module: nn.Module) -> tuple[ChannelGroup, ...]:
    return find_groups(module, (torch.zeros(2, 1, 4, 4),)).found


def test_slimming_is_the_sum_of_the_scales_and_pulls_at_nothing_else() -> None:
    module = network()
    penalty = slimming(module, groups_of(module))
    assert float(penalty) == 2.0
    penalty.backward()
    assert module.get_parameter("1.weight").grad.tolist() == [-1.0, 0.0]
    assert module.get_parameter("0.weight").grad is None


def test_a_scale_that_two_groups_meet_at_counts_once() -> None:
    module = network()
    (group,) = groups_of(module)
    assert float(slimming(module, [group, group])) == 2.0


def test_group_lasso_is_the_sum_of_the_norms_of_units() -> None:
    """The first unit's norm is that of (3, -2, 4), each weight is pulled by its part of it; the second has none."""
    module = network()
    penalty = group_lasso(module, groups_of(module))
    norm = 29.0**0.5
    least = 1e-12**0.5  # a unit of zeros counts for that much, so that its slope is finite
    assert float(penalty) == pytest.approx(norm + least)
    penalty.backward()
    assert module.get_parameter("0.weight").grad.flatten().tolist() == pytest.approx([3 / norm, 0.0])
    assert module.get_parameter("1.weight").grad.tolist() == pytest.approx([-2 / norm, 0.0])
    assert module.get_parameter("2.weight").grad.flatten().tolist() == pytest.approx([4 / norm, 0.0])


def test_whether_there_are_scales() -> None:
    with_norm, without = network(), network(norm=False)
    assert has_scales(with_norm, groups_of(with_norm))
    assert not has_scales(without, groups_of(without))
