"""Pruning in rounds: the curve, what is trained when, and what is taken back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.recipe.distillation import Distill
from edgewright.recipe.schema import Compress
from edgewright.recipe.training import Recover
from edgewright.training.comparison import Standing
from edgewright.training.result import TrainingResult
from edgewright.training.rounds import LoopTrainer, Rounds, in_rounds, recovery
from edgewright.training.schedule import TrainingOptions
from torch import nn


def test_the_linear_curve_takes_as_much_each_time_and_the_cubic_one_most_at_first() -> None:
    assert Rounds(4).parts == (0.25, 0.5, 0.75, 1.0)
    assert Rounds(2, "cubic").parts == (1 - 0.5**3, 1.0)
    assert Rounds(4, "cubic").parts == (1 - 0.75**3, 1 - 0.5**3, 1 - 0.25**3, 1.0)
    assert Rounds().parts == Rounds(1, "cubic").parts == (1.0,)


def test_training_follows_all_but_the_last_unless_rounds_are_judged() -> None:
    options = TrainingOptions(1.0)
    assert [Rounds(3, recover=options).trains_after(number) for number in (1, 2, 3)] == [True, True, False]
    assert Rounds(3, recover=options, most_loss=1.0).trains_after(3)
    assert not Rounds(3, most_loss=1.0).trains_after(1)
    assert [Rounds(1, recover=options).reads_train, Rounds(2, recover=options).reads_train] == [False, True]
    assert Rounds(1, most_loss=0.0).reads_train


def test_recovery_is_the_recipes_own_way_of_training_for_other_epochs() -> None:
    assert recovery(Compress(), 0.0) is None
    assert recovery(Compress(), 0.5) == TrainingOptions(0.5)
    assert recovery(Compress(recover=Recover(optimizer="sgd")), 2.0) == TrainingOptions(2.0, optimizer="sgd")
    assert recovery(Compress(distill=Distill(batch_size=8)), 2.0) == TrainingOptions(2.0, batch_size=8)


class Judged:
    """A trainer whose networks stand as they are said to, one after the other."""

    def __init__(self, standings: list[Standing]) -> None:
        self.standings = standings

    def train(self, module: nn.Module, options: TrainingOptions, what: str) -> TrainingResult:
        return TrainingResult(2.0, 1.0, options.epochs, options.epochs, False)

    def judge(self, module: nn.Module) -> Standing:
        return self.standings.pop(0)


def run(rounds: Rounds, top1: list[float | None], listener: Any, loss: list[float] | None = None) -> Any:
    """What becomes of a layer whose weight is set to each part; `top1` is what the judge finds, one after the other."""
    layer = nn.Linear(1, 1)
    layer.weight.data.zero_()
    found = [Standing(1, lost, hit) for lost, hit in zip(loss or [1.0] * len(top1), top1, strict=True)]

    def prune(module: nn.Module, part: float) -> str:
        module.get_parameter("weight").data.fill_(part)
        return f"{part:.0%} gone"

    after, held = in_rounds(layer, rounds, prune, Judged(found), listener.said.append, listener)
    assert found == []
    return after.get_parameter("weight").item(), held


def test_a_round_that_costs_too_much_is_taken_back_and_ends_the_pruning(listener: Any) -> None:
    rounds = Rounds(4, recover=TrainingOptions(1.0), most_loss=1.0)
    assert run(rounds, [0.90, 0.895, 0.88], listener) == (0.25, 1)
    assert listener.said == [
        "training after step 1: loss 2 -> 1",
        "step 1 of 4 (25% gone) is kept: held-out top-1 90.00% -> 89.50%, 0.50 points lost, allowed 1",
        "training after step 2: loss 2 -> 1",
        "step 2 of 4 (50% gone) is taken back: held-out top-1 89.50% -> 88.00%, 1.50 points lost, allowed 1",
    ]
    assert listener.warnings == [
        f"{listener.said[-1]}; pruning ends with what the steps before it took",
    ]


def test_without_a_limit_nothing_is_judged_or_taken_back(listener: Any) -> None:
    assert run(Rounds(2, recover=TrainingOptions(1.0)), [], listener) == (1.0, 2)
    assert listener.said == ["training after step 1: loss 2 -> 1"]
    assert listener.warnings == []


def test_what_is_better_than_before_costs_nothing(listener: Any) -> None:
    assert run(Rounds(2, most_loss=0.0), [0.5, 0.6, 0.6], listener) == (1.0, 2)


@pytest.mark.parametrize(("losses", "held"), [([0.10, 0.109, 0.12], 1), ([0.10, 0.109, 0.118], 2), ([0.0, 0.1], 0)])
def test_without_classes_the_loss_may_rise_by_so_many_percent(losses: list[float], held: int, listener: Any) -> None:
    assert run(Rounds(2, most_loss=10.0), [None] * len(losses), listener, losses)[1] == held


def test_a_loss_that_is_not_a_number_is_taken_back(listener: Any) -> None:
    assert run(Rounds(1, most_loss=1e9), [None, None], listener, [1.0, float("nan")])[1] == 0


def trainer(make_data: Callable[..., Any], scratch: Path, listener: Any, **options: Any) -> LoopTrainer:
    generator = torch.Generator().manual_seed(0)
    data = make_data(train=(torch.randn(100, 4, generator=generator), torch.zeros(100, dtype=torch.long)))
    return LoopTrainer(data, "classification", 0, scratch, listener, "prune", **options)


def test_the_judge_looks_at_what_training_does_not_see(
    make_data: Callable[..., Any], tmp_path: Path, listener: Any
) -> None:
    always_first = nn.Linear(4, 2)
    with torch.no_grad():
        always_first.weight.zero_()
        always_first.bias.copy_(torch.tensor([1.0, 0.0]))
    stands = trainer(make_data, tmp_path, listener).judge(always_first)
    assert stands.top1 == 1.0
    assert stands.loss == pytest.approx(float(torch.log1p(torch.exp(torch.tensor(-1.0)))))


def test_each_training_has_a_folder_of_its_own_and_holds_the_zeros(
    make_data: Callable[..., Any], tmp_path: Path, listener: Any
) -> None:
    layer = nn.Linear(4, 2)
    layer.weight.data[0] = 0
    between = trainer(make_data, tmp_path, listener, masked=["weight"])
    result = between.train(layer, TrainingOptions(2.0, batch_size=10), "recover after step 1 of 2")
    assert result.loss_after < result.loss_before
    assert [folder.name for folder in tmp_path.iterdir() if folder.is_dir()] == ["recover-after-step-1-of-2"]
    assert bool((layer.weight[0] == 0).all())
    assert not bool((layer.weight[1] == 0).any())
