"""scale-activations: outliers of a transformer's activations no longer take the others' precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from edgewright.ir.facts import ACTIVATIONS_SCALED
from edgewright.ir.state import ModelState
from edgewright.passes.scale_activations import ScaleActivations
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import Tensor, nn


class Block(nn.Module):
    """What a transformer does with tokens (N, 8, 16), some of whose channels are fifty times as large as others."""

    def __init__(self, outlier: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.norm.weight[3] *= outlier
            self.up.weight[:, 3] /= outlier

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head((x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))).mean(1))
        return outputs


GIVEN = torch.randn(64, 8, 16, generator=torch.Generator().manual_seed(0))


def error(state: ModelState, network: nn.Module) -> float:
    given = torch.randn(64, 8, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return float((state.callable_module()(given) - network.eval()(given)).square().mean())


def test_an_outlier_no_longer_costs_anything(built: Callable[..., ModelState]) -> None:
    torch.manual_seed(0)
    network = Block(50)
    plain, scaled = built(network, given=GIVEN), built(network, given=GIVEN, repair="smooth")
    assert ACTIVATIONS_SCALED in scaled.facts
    assert error(scaled, network) < error(plain, network) / 2
    (record,) = (each for each in scaled.history if each.step.startswith("scale-activations"))
    assert record.notes[0].startswith("signal over error of the quantized outputs in dB, by strength: 0: ")
    assert "1 layer normalizations scaled with strength" in record.notes[1]


def test_the_float_network_computes_the_same(built: Callable[..., ModelState]) -> None:
    torch.manual_seed(0)
    network = Block(50)
    state = built(network, last="scale-activations", given=GIVEN, repair="smooth")
    assert error(state, network) < 1e-10
    assert "scaled with strength" in state.history[-1].notes[1]


def test_networks_without_normalizations_are_told_of(built: Callable[..., ModelState]) -> None:
    state = built(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), last="scale-activations", repair="smooth")
    assert state.history[-1].notes == ("no layer normalization with linear layers behind it",)


def test_nothing_is_scaled_that_was_not_asked_for(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"quantize": {"repair": ["equalize", "correct-bias"]}})
    assert ScaleActivations.for_target(load_target("x86-avx2"), recipe) is None
