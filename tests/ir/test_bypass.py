"""What stands in a module's place gives back what it is given, and goes away again."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.bypass import pass_by, passed_by, swap
from torch import Tensor, nn


class Scaled(nn.Module):
    """Takes a factor beside its input."""

    def forward(self, x: Tensor, factor: float, *, shift: float) -> Tensor:
        return x * factor + shift


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
        self.scaled = Scaled()

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.scaled(self.stages(x), 3.0, shift=1.0)
        return outputs


def test_a_module_that_is_passed_by_gives_its_first_input_whatever_else_it_is_given() -> None:
    network, x = Network(), torch.tensor([[-1.0, 2.0]])
    old = pass_by(network, "scaled")
    assert isinstance(old, Scaled)
    pass_by(network, "stages.0")
    assert torch.equal(network(x), x)


def test_in_a_context_the_modules_come_back_even_after_a_failure() -> None:
    network, x = Network(), torch.tensor([[-1.0, 2.0]])
    before, parts = network(x), dict(network.named_modules())
    with passed_by(network, ["stages.0", "scaled"]) as without:
        assert torch.equal(without(x), x)
    with pytest.raises(RuntimeError, match="on the way"), passed_by(network, ["stages"]):
        raise RuntimeError("on the way")
    assert dict(network.named_modules()) == parts
    assert torch.equal(network(x), before)


def test_a_module_is_swapped_for_another_and_back() -> None:
    network, x = Network(), torch.tensor([[-1.0, 2.0]])
    before = network(x)
    old = swap(network, "stages.0.0", nn.Identity())
    assert torch.equal(network(x), x.relu() * 3 + 1)
    assert isinstance(swap(network, "stages.0.0", old), nn.Identity)
    assert torch.equal(network(x), before)


def test_it_can_be_exported() -> None:
    network, x = Network().eval(), torch.tensor([[-1.0, 2.0]])
    pass_by(network, "scaled")
    assert torch.equal(torch.export.export(network, (x,)).module()(x), network(x))
