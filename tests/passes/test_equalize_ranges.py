"""equalize-ranges: a network whose channels have ranges a hundredfold apart survives one scale per tensor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from edgewright.ir.facts import RANGES_EQUALIZED
from edgewright.ir.state import ModelState
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.equalize_ranges import EqualizeRanges
from edgewright.passes.text import from_text, to_text
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import Tensor, nn

HARD: dict[str, Any] = {"weights": {"granularity": "per-tensor"}}


class Chain(nn.Module):
    """Convolutions whose channels' ranges are spread by `spread`, and made up for in the next one."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.last, self.head = nn.Conv2d(16, 16, 1), nn.Linear(16, 10)
        factors = torch.logspace(-0.5, 0.5, 16).pow(torch.tensor(spread).log10())[torch.randperm(16)]
        with torch.no_grad():
            self.first.weight.mul_(factors.reshape(-1, 1, 1, 1))
            self.first.bias.mul_(factors)  # type: ignore[union-attr]
            self.depthwise.bias.mul_(factors)  # type: ignore[union-attr]
            self.last.weight.div_(factors.reshape(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.last(self.depthwise(self.first(x).relu()).relu()).relu().mean((2, 3)))
        return outputs


def error(state: ModelState, network: nn.Module) -> float:
    given = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        return float((state.callable_module()(given) - network.eval()(given)).square().mean())


def test_ranges_a_hundredfold_apart_no_longer_cost_anything(built: Callable[..., ModelState]) -> None:
    torch.manual_seed(0)
    hard = Chain(100)
    plain, repaired = built(hard, **HARD), built(hard, **HARD, repair="equalize")
    assert error(repaired, hard) < error(plain, hard) / 20
    (record,) = (each for each in repaired.history if each.step.startswith("equalize-ranges"))
    assert "3 pairs of layers equalized: the quantized outputs' signal over their error is" in record.notes[0]
    assert "largest factor" in record.notes[1]


def test_the_float_network_stays_as_it_was(built: Callable[..., ModelState]) -> None:
    torch.manual_seed(0)
    hard = Chain(100)
    before = {name: tensor.clone() for name, tensor in hard.state_dict().items()}
    state = built(hard, last="equalize-ranges", **HARD, repair="equalize")
    assert RANGES_EQUALIZED in state.facts
    assert error(state, hard) < 1e-8
    assert all(torch.equal(before[name], tensor) for name, tensor in hard.state_dict().items())


def test_what_does_not_help_is_left_out(built: Callable[..., ModelState]) -> None:
    """Layers equal already: nothing moves."""
    torch.manual_seed(0)
    easy = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1, bias=False), nn.Flatten())
    with torch.no_grad():
        easy[0].weight.div_(easy[0].weight.abs().amax((1, 2, 3), keepdim=True))
        easy[2].weight.div_(easy[2].weight.abs().amax((0, 2, 3), keepdim=True))
    state = built(easy, last="equalize-ranges", **HARD, repair="equalize")
    assert state.history[-1].notes[0].startswith("left as it was: the quantized outputs' signal")


def test_networks_without_pairs_are_told_of(built: Callable[..., ModelState]) -> None:
    state = built(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten()), last="equalize-ranges", **HARD, repair="equalize")
    assert state.history[-1].notes == ("no two layers between which scales can move",)


def test_it_stands_before_the_calibration_and_its_text_round_trips(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"quantize": {"repair": "auto", "mixed": {"drop_points": 1}, "rounding": "adaround"}})
    steps = [planned.step for planned in plan(recipe, load_target("x86-avx2")).steps]
    names = [step.name for step in steps]
    wanted = ["fold-batchnorm", "equalize-ranges", "scale-activations", "calibrate"]
    assert sorted(names[names.index("fold-batchnorm") : names.index("calibrate") + 1]) == sorted(wanted)
    after = ["calibrate", "choose-precision", "learn-rounding", "correct-bias", "insert-quantization"]
    assert names[names.index("calibrate") :][: len(after)] == after
    step = steps[names.index("equalize-ranges")]
    assert from_text(to_text(step), [EqualizeRanges, Calibrate]) == step


def test_nothing_is_tried_that_was_not_asked_for(make_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = make_recipe(compress={"quantize": {}})
    assert EqualizeRanges.for_target(load_target("x86-avx2"), recipe) is None
