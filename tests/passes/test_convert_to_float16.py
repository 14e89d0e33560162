"""convert-to-float16: every stored value is one that float16 holds."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.facts import HALVED
from edgewright.ir.graph import editable, is_constant, tensor_of
from edgewright.ir.state import ModelState
from edgewright.passes.contract import Skip
from edgewright.passes.convert_to_float16 import ConvertToFloat16
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.text import from_text, to_text
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import nn

TARGET = load_target("arm64-cortex-a72")
ROUNDING = 2.0**-11
"""Half a step of float16, relative to the value (IEEE 754 binary16: eleven significant bits)."""
SMALLEST = 2.0**-25
"""Half of the smallest number that float16 holds."""


@pytest.fixture
def step(make_recipe: Callable[..., Recipe]) -> ConvertToFloat16:
    found = ConvertToFloat16.for_target(TARGET, make_recipe(compress={"quantize": {"precision": "float16"}}))
    assert isinstance(found, ConvertToFloat16)
    return found


def test_every_stored_value_is_the_nearest_half(
    step: ConvertToFloat16, networks: ModuleType, carry_out: Callable[..., ModelState]
) -> None:
    folded = carry_out(networks.random(networks.Residual), Export(), FoldBatchnorm())
    state = carry_out(folded, step)
    assert HALVED in state.facts
    before, after = (editable(each.exported_program()) for each in (folded, state))
    exact = {str(node.target): tensor_of(before, node) for node in before.graph.nodes if is_constant(node)}
    halves = {str(node.target): tensor_of(after, node) for node in after.graph.nodes if is_constant(node)}
    assert len(halves) == state.attachments["halved"] == len(exact) > 0
    for name, rounded in halves.items():
        given = exact[name.removesuffix("_in_float16")]
        assert torch.equal(rounded, rounded.half().float())
        assert bool(((rounded - given).abs() <= given.abs() * ROUNDING + SMALLEST).all())
        assert not torch.equal(rounded, given)


def test_a_value_that_float16_lacks_is_refused_by_name(
    step: ConvertToFloat16, carry_out: Callable[..., ModelState]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    with torch.no_grad():
        network[0].bias[1] = 1e5
    with pytest.raises(InputError, match=r"values up to 65504, which float16 holds, got larger ones in .*bias"):
        carry_out(network, Export(), FoldBatchnorm(), step)


def test_a_target_without_it_gets_a_skip(make_recipe: Callable[..., Recipe]) -> None:
    asked = make_recipe(compress={"quantize": {"precision": "float16"}})
    skip = ConvertToFloat16.for_target(load_target("arm-cortex-m"), asked)
    assert isinstance(skip, Skip)
    assert "ask for int8" in skip.why
    assert ConvertToFloat16.for_target(TARGET, make_recipe(compress={"quantize": {}})) is None


def test_its_text_reads_back(step: ConvertToFloat16) -> None:
    assert from_text(to_text(step), (ConvertToFloat16,)) == step
