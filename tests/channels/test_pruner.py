from __future__ import annotations

import copy
from collections.abc import Sequence
from types import ModuleType

import pytest
import torch
from edgewright.channels.choice import Importance
from edgewright.channels.costs import count_macs
from edgewright.channels.groups import ChannelGroup
from edgewright.channels.importance import by_norm
from edgewright.channels.pruner import ChannelPruner
from torch import nn

IMAGE = (torch.zeros(2, 3, 16, 16),)


def rank(module: nn.Module, groups: Sequence[ChannelGroup]) -> Importance:
    return by_norm(module, groups, 2)


def pruner(module: nn.Module, multiple: int = 1) -> ChannelPruner:
    return ChannelPruner(module, IMAGE, measure="flops", scope="global", multiple=multiple, keep=(), seed=0)


def test_parts_are_of_the_first_cost_whatever_went_before(networks: ModuleType) -> None:
    before = networks.random(networks.Residual)
    module = copy.deepcopy(before)
    steps = pruner(module)
    for part in (0.2, 0.4, 0.6):
        reached = steps.prune_to(part, rank)
        assert reached == pytest.approx(1 - count_macs(module, IMAGE) / count_macs(before, IMAGE))
        assert abs(reached - part) < 1 / 16


def test_the_floor_is_an_eighth_of_the_first_width_in_every_step(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    steps = pruner(module)
    for part in (0.9, 0.99, 0.999):
        steps.prune_to(part, rank)
    assert module.get_submodule("second.0").out_channels == 32 // 8
    assert module.get_submodule("third.0").out_channels == 24 // 8


def test_a_layer_that_an_earlier_step_narrowed_is_not_called_whole(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    steps = pruner(module, multiple=8)
    steps.prune_to(0.9, rank)
    steps.prune_to(0.95, rank)
    assert set(steps.whole) == {"head"}
