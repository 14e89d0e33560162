"""choose-precision: as few layers in float as trying every set finds, and what a recipe is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.ir.facts import PRECISION_CHOSEN
from edgewright.ir.state import ModelState
from edgewright.passes.choose_precision import ChoosePrecision
from edgewright.passes.contract import Skip
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import Tensor, nn

GIVEN = torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LOW: dict[str, Any] = {"weights": {"bits": 3, "granularity": "per-tensor"}}
NAMES = ("first", "second", "third", "head")


class Chain(nn.Module):
    """Four layers, one of which has weights that three bits can't hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.third, self.head = nn.Conv2d(8, 8, 3), nn.Linear(8, 10)
        with torch.no_grad():
            self.second.weight[0, 0, 0, 0] = 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.third(self.second(self.first(x).relu()).relu()).relu()
        outputs: Tensor = self.head(x.mean((2, 3)))
        return outputs


@pytest.fixture(scope="module")
def labels() -> Tensor:
    """What the float network answers: it makes no mistake."""
    with torch.no_grad():
        answers: Tensor = Chain().eval()(GIVEN).argmax(1)
    return answers


@pytest.fixture
def chosen(built: Callable[..., ModelState], labels: Tensor) -> Callable[..., ModelState]:
    """chosen(points, last="choose-precision", **quantize)."""

    def run(points: float, last: str = "choose-precision", most_layers: int | None = None, **more: Any) -> ModelState:
        mixed = {"drop_points": points, "samples": 100, "most_layers": most_layers}
        return built(Chain(), last=last, given=GIVEN, labels=labels, **LOW, mixed=mixed, **more)

    return run


def drop(state: ModelState, labels: Tensor) -> float:
    with torch.no_grad():
        return 100 * float((state.callable_module()(GIVEN).argmax(1) != labels).float().mean())


def test_the_fewest_layers_stay_in_float(
    chosen: Callable[..., ModelState], built: Callable[..., ModelState], labels: Tensor
) -> None:
    found: dict[tuple[str, ...], float] = {}
    for size in range(len(NAMES) + 1):
        for names in itertools.combinations(NAMES, size):
            if size < len(NAMES):
                found[names] = drop(built(Chain(), given=GIVEN, **LOW, keep_float=names), labels)
    assert found[()] > 5
    for points in sorted({value + 0.01 for value in found.values() if value + 0.01 < found[()]})[::3]:
        state = chosen(points)
        names = tuple(state.attachments["float_layers"])
        fewest = min(len(each) for each, value in found.items() if value <= points)
        assert len(names) == fewest
        assert PRECISION_CHOSEN in state.facts
        whole = chosen(points, last="")
        left = whole.attachments["quantization"]["left_float"]
        assert left == dict.fromkeys(names, "mixed precision keeps it in float")
        assert drop(whole, labels) <= points
    assert any("no smaller set would do" in note for note in state.history[-1].notes)
    assert state.history[-1].notes[-1] == "what they cost in time can't be measured here"


def test_nothing_stays_in_float_where_nothing_has_to(chosen: Callable[..., ModelState]) -> None:
    state = chosen(100.0)
    assert state.attachments["float_layers"] == []
    assert state.history[-1].notes[0].startswith("no layer has to stay in float: ")


def test_more_layers_than_allowed_end_the_build(chosen: Callable[..., ModelState]) -> None:
    points = next(each for each in (20.0, 14, 10, 8, 7, 6) if len(chosen(each).attachments["float_layers"]) > 1)
    with pytest.raises(StepError, match=r"most_layers allows 1"):
        chosen(points, most_layers=1)


def test_where_every_layer_would_stay_the_build_ends(chosen: Callable[..., ModelState]) -> None:
    with pytest.raises(StepError, match=r"every layer would have to stay in float for a drop of at most 0\.01 points"):
        chosen(0.01)


def test_where_all_is_integer_the_plan_says_what_to_ask_for(make_recipe: Callable[..., Recipe]) -> None:
    recipe = make_recipe(compress={"quantize": {"mixed": {"drop_points": 1}}})
    skip = ChoosePrecision.for_target(load_target("arm64-cortex-a72"), recipe)
    assert isinstance(skip, Skip)
    assert "compress.quantize.allow_float" in skip.why
