from __future__ import annotations

import copy
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.channels.choice import Importance
from edgewright.channels.costs import count_macs, count_parameters
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


class Steps(nn.Module):
    """A linear layer, recurrent ones and a linear one over five steps."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.embed, self.cells = nn.Linear(8, 16), kind(16, 24, batch_first=True, **options)
        self.head = nn.Linear(24 * (1 + self.cells.bidirectional), 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.head(self.cells(self.embed(x).relu())[0][:, -1])
        return outputs


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("measure", ["flops", "parameters"])
def test_recurrent_layers_cost_what_is_counted_before_and_after(
    measure: Any, kind: type[nn.RNNBase], options: Any
) -> None:
    torch.manual_seed(0)
    module, steps = Steps(kind, **options), (torch.zeros(2, 5, 8),)
    before = copy.deepcopy(module)
    pruner = ChannelPruner(module, steps, measure=measure, scope="global", multiple=4, keep=(), seed=0)
    reached = pruner.prune_to(0.5, rank)
    counts = [
        count_macs(network, steps) if measure == "flops" else count_parameters(network) for network in (module, before)
    ]
    assert reached == pytest.approx(1 - counts[0] / counts[1])
    assert module.cells.hidden_size % 4 == 0
    assert module.cells.hidden_size < 24
    assert pruner.whole == {"head": "its channels are an output of the network"}
