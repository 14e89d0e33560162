"""Choosing blocks, on numbers and on a network of three scalings."""

from __future__ import annotations

import pytest
import torch
from edgewright.blocks.choice import Candidate, candidates, change, mean_loss, next_to_go, outputs_of
from edgewright.recipe.datasets import Batch
from torch import nn


def scalings() -> nn.Module:
    """Multiplies by 2, 3 and 5."""
    module = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(3)))
    for layer, factor in zip(module, (2.0, 3.0, 5.0), strict=True):
        layer.weight.data.fill_(factor)
    return module


def batches() -> list[Batch]:
    """Three samples in two batches, all with the value 1 and the label 30."""
    return [Batch((torch.ones(count, 1),), torch.full((count, 1), 30.0)) for count in (2, 1)]


def test_the_mean_is_over_samples_and_not_over_batches() -> None:
    uneven = [Batch((torch.ones(2, 1),), torch.zeros(2, 1)), Batch((torch.ones(1, 1),), torch.full((1, 1), 30.0))]
    assert mean_loss(scalings(), uneven, nn.functional.mse_loss) == pytest.approx(2 / 3 * 900)


def test_each_candidate_is_measured_without_the_others_going() -> None:
    module = scalings()

    def count(network: nn.Module) -> float:
        return float(sum(parameter.numel() for parameter in network.parameters()))

    found = candidates(module, ["0", "2"], lambda network: mean_loss(network, batches(), nn.functional.mse_loss), count)
    assert found == [Candidate("0", (30 - 15) ** 2, 1.0), Candidate("2", (30 - 6) ** 2, 1.0)]
    assert outputs_of(module, batches()).tolist() == [[30.0]] * 3


def test_the_change_is_relative() -> None:
    assert change(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 2.0])) == pytest.approx((0 + 4) / (9 + 4))


@pytest.mark.parametrize(
    ("excess", "expected"),
    [(10.0, "dear but large"), (2.0, "cheap"), (1.1, "cheap"), (0.4, None), (0.0, None)],
)
def test_what_costs_least_for_what_it_saves_goes_unless_it_ends_farther_from_the_goal(
    excess: float, expected: str | None
) -> None:
    """The costs are 1 for 1, and 4 for 8."""
    found = [Candidate("cheap", 2.0, 1.0), Candidate("dear but large", 5.0, 8.0), Candidate("free", 1.0, 0.0)]
    best = next_to_go(found, 1.0, excess)
    assert (best.name if best else None) == expected


def test_a_block_without_which_the_network_gives_no_numbers_stays() -> None:
    found = [Candidate("needed", float("nan"), 1.0), Candidate("dear", 90.0, 1.0)]
    assert next_to_go(found, 1.0, 1.0) == found[1]
    assert next_to_go(found[:1], 1.0, 1.0) is None
