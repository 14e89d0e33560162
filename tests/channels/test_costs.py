from __future__ import annotations

import copy
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.channels.costs import costs_of, count_macs, count_parameters
from edgewright.channels.surgery import remove
from edgewright.channels.walk import find_groups
from torch import nn

IMAGE = (torch.zeros(2, 3, 16, 16),)


@pytest.mark.parametrize(
    "kind",
    ["Plain", "Flattened", "Residual", "DepthwiseSeparable", "Grouped", "Dense", "SqueezeExcite", "Perceptron"],
)
@pytest.mark.parametrize("measure", ["flops", "parameters"])
def test_costs_fall_as_those_of_the_network_do(kind: str, measure: Any, networks: ModuleType) -> None:
    module = networks.random(getattr(networks, kind))
    groups = find_groups(copy.deepcopy(module), IMAGE).found
    costs = costs_of(module, IMAGE, groups, measure)
    for group in groups:
        before, saved = costs.total, costs.saved(group, [0, 2, 3])
        costs.take(group, [0, 2, 3])
        assert costs.total == before - saved < before
    smaller = remove(copy.deepcopy(module), {group: [0, 2, 3] for group in groups})
    truth = count_macs(smaller, IMAGE) if measure == "flops" else count_parameters(smaller)
    assert costs.total == pytest.approx(truth)


def test_a_transposed_convolution_is_counted_by_what_it_reads() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(4, 2, 1))
    groups = {group.name: group for group in find_groups(copy.deepcopy(module), IMAGE).found}
    costs = costs_of(module, IMAGE, tuple(groups.values()), "flops")
    assert costs.saved(groups["1"], [0]) == 16 * 16 * 8 * 4 + 32 * 32 * 2


def test_a_copy_of_the_costs_stands_on_its_own(networks: ModuleType) -> None:
    module = networks.random(networks.Plain)
    groups = find_groups(copy.deepcopy(module), IMAGE).found
    costs = costs_of(module, IMAGE, groups, "channels")
    costs.copy().take(groups[0], [0, 1])
    assert costs.total == sum(group.width for group in groups)


def test_macs_are_for_one_sample() -> None:
    assert count_macs(nn.Linear(4, 5), (torch.zeros(7, 4),)) == 20


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_products_are_counted(kind: type[nn.RNNBase], gates: int) -> None:
    """In each of five steps each unit of each gate multiplies three inputs and seven units."""
    layer = kind(3, 7, batch_first=True)
    assert count_macs(layer, (torch.zeros(2, 5, 3),)) == 5 * gates * 7 * (3 + 7)
    assert count_parameters(layer) == gates * 7 * (3 + 7 + 2)
