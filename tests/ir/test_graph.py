"""What an edited graph is once it is lifted."""

from __future__ import annotations

import torch
from edgewright.ir.graph import editable, export, lifted
from torch import Tensor, nn


class Named(nn.Module):
    """Layers whose names are no words of Python, or become the same one ("a_b" in "c", "b_c" in "a")."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module("block1-0", nn.Linear(4, 4))
        self.add_module("a", nn.ModuleDict({"b_c": nn.Linear(4, 4)}))
        self.add_module("a_b", nn.ModuleDict({"c": nn.Linear(4, 4)}))

    def forward(self, x: Tensor) -> Tensor:
        for name in ("block1-0", "a.b_c", "a_b.c"):
            x = self.get_submodule(name)(x)
        return x


def test_modules_of_any_name_can_be_lifted() -> None:
    network, x = Named().eval(), torch.randn(2, 4)
    program = export(network, (x,), open_batch=True)
    after = lifted(editable(program), program)
    assert set(after.state_dict) == set(network.state_dict())
    assert torch.equal(after.module()(x), network(x))
