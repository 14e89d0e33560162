"""What a placement is refused for: names that the network has not, nothing in int8, and floats where none may be."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.graph import editable, export
from edgewright.quantization.placement import place
from edgewright.quantization.refusals import refuse_float, refuse_nothing, refuse_unknown
from edgewright.quantization.rules import Rules
from edgewright.targets import load_target
from torch import nn
from torch.fx import GraphModule

NETWORK = nn.Sequential()
NETWORK.add_module("stem", nn.Conv2d(3, 8, 3))
NETWORK.add_module("rare", nn.Softsign())
NETWORK.add_module("head", nn.Conv2d(8, 8, 3))


@pytest.fixture(scope="module")
def module() -> GraphModule:
    return editable(export(NETWORK.eval(), (torch.zeros(2, 3, 8, 8),), open_batch=False))


def rules(name: str) -> Rules:
    int8 = load_target(name).quantization.int8_static
    assert int8 is not None
    return Rules.of(int8)


def test_an_unknown_name_is_answered_with_near_ones(module: GraphModule) -> None:
    refuse_unknown(module, ("stem", "head"))
    with pytest.raises(InputError, match=r"'stm' \(did you mean stem"):
        refuse_unknown(module, ("stm",))


def test_nothing_in_int8_is_refused_with_the_reasons(module: GraphModule) -> None:
    refuse_nothing(place(module.graph, rules("x86-avx2")))
    with pytest.raises(InputError, match="stem: the recipe keeps it in float"):
        refuse_nothing(place(module.graph, rules("x86-avx2"), ("stem", "head")))


def test_floats_are_named_where_none_may_be(module: GraphModule) -> None:
    with pytest.raises(InputError, match="rare: no int8 kernel for"):
        refuse_float(module, place(module.graph, rules("arm64-cortex-a72")))
