"""correct-bias: means that rounding shifts are put right, layer after layer, and kept only where that helps."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from edgewright.ir.facts import BIAS_CORRECTED, QUANTIZED
from edgewright.ir.state import ModelState
from edgewright.passes.correct_bias import CorrectBias
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import nn

LOW = {"weights": {"bits": 3}, "repair": "correct-bias"}


def shifts(state: ModelState, network: nn.Module) -> torch.Tensor:
    """How far the mean of each output lies from the float network's, on other samples."""
    given = torch.randn(256, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return (state.callable_module()(given) - network.eval()(given)).mean(0).abs()


@pytest.mark.parametrize("kind", ["Plain", "Residual"])
def test_means_are_put_right(kind: str, networks: ModuleType, built: Callable[..., ModelState]) -> None:
    network = networks.random(getattr(networks, kind))
    plain = built(network, weights={"bits": 3})
    corrected = built(network, **LOW)
    assert {BIAS_CORRECTED, QUANTIZED} <= corrected.facts
    assert shifts(corrected, network).mean() < shifts(plain, network).mean() / 2
    (record,) = (each for each in corrected.history if each.step.startswith("correct-bias"))
    assert "layers corrected: the quantized outputs' signal over their error is" in record.notes[0]


def test_a_single_layer_by_hand(built: Callable[..., ModelState]) -> None:
    """Inputs of one mean: the bias takes on the mean of the rounded weights' error times it, and nothing else."""
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten())
    given = torch.rand(64, 2, 2, 2, generator=torch.Generator().manual_seed(0)) + 1
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0.3], [1.0, 0.3], [-1.0, 0.2]])[..., None, None])
    state = built(network, last="correct-bias", given=given, weights={"bits": 2}, repair="correct-bias")
    bias = next(value for value in state.exported_program().state_dict.values() if value.shape == (3,))
    # With two bits the integers are -1, 0 and 1: 0.3 and 0.2 become 0.
    expected = network[0].bias.detach() + torch.tensor([0.3, 0.3, 0.2]) * given[:, 1].mean()
    torch.testing.assert_close(bias.detach(), expected, rtol=0, atol=0.02)


def test_learned_roundings_stay(networks: ModuleType, built: Callable[..., ModelState]) -> None:
    rounding = {"samples": 32, "iterations": 30}
    network = networks.random(networks.Plain)
    before = built(network, last="learn-rounding", **LOW, rounding=rounding)
    after = built(network, last="correct-bias", **LOW, rounding=rounding)
    stored, kept = (each.exported_program().state_dict for each in (before, after))
    assert all(torch.equal(stored[name], kept[name]) for name in before.attachments["learned_rounding"])
    assert any(not torch.equal(stored[name], kept[name]) for name in stored)


def test_layers_without_a_bias_are_told_of(built: Callable[..., ModelState]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten())
    state = built(network, last="correct-bias", **LOW)
    assert state.history[-1].notes == ("no layer has a bias of its own",)


def test_what_gains_nothing_is_left_out(built: Callable[..., ModelState]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    state = built(network, last="correct-bias", repair="correct-bias")
    assert state.history[-1].notes[0].startswith("left as it was: the quantized outputs' signal")


def test_nothing_is_corrected_that_was_not_asked_for(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"quantize": {"repair": "equalize"}})
    assert CorrectBias.for_target(load_target("x86-avx2"), recipe) is None
