"""What is computed of stored tensors alone is stored; what depends on the input, or is too large, is computed."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir import constants
from edgewright.ir.constants import with_constants_folded
from edgewright.ir.graph import export, operator
from torch import Tensor, nn
from torch.export import ExportedProgram


class Computed(nn.Module):
    """Its bias is partly erased and its position table goes through a layer each time (Swin V2)."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.table = nn.Linear(4, 8), nn.Linear(2, 8)
        self.register_buffer("places", torch.randn(3, 2))
        self.token = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.cat([self.mix.bias[:4], torch.zeros(4)])
        x = nn.functional.linear(x, self.mix.weight, kept) + self.table(self.places).sigmoid()
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.ones(4)


def operators(program: ExportedProgram) -> list[str]:
    return [name for node in program.graph.nodes if (name := operator(node))]


def test_what_no_input_goes_into_is_stored() -> None:
    network, x = Computed().eval(), torch.randn(5, 3, 4)
    program = with_constants_folded(export(network, (torch.randn(2, 3, 4),), open_batch=True))
    assert torch.equal(program.module()(x), network(x))
    found = operators(program)
    assert found.count("linear") == found.count("cat") == 1
    assert "sigmoid" not in found
    assert "expand" in found  # as many tokens as samples


def test_a_network_without_such_tensors_stays_the_program_that_it_is() -> None:
    program = export(Plain().eval(), (torch.randn(2, 4),), open_batch=True)
    assert with_constants_folded(program) is program


def test_a_large_tensor_is_computed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "_LARGEST", 8)
    network, x = Computed().eval(), torch.randn(5, 3, 4)
    program = with_constants_folded(export(network, (torch.randn(2, 3, 4),), open_batch=True))
    assert torch.equal(program.module()(x), network(x))
    found = operators(program)
    assert found.count("linear") == 2  # the table has 24 elements
    assert found.count("cat") == 1  # the bias has 8
