"""Standings: loss, accuracy and size on samples that are held out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from edgewright.recipe.datasets import Split
from edgewright.training.comparison import Standing, standing
from torch import nn
from torch.nn import functional

SCORES = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 4, (300,), generator=torch.Generator().manual_seed(1))
HERE = torch.device("cpu")


@pytest.fixture
def split(make_data: Any) -> Split:
    found: Split = make_data(train=(SCORES, LABELS)).split("train")
    return found


def test_loss_and_accuracy_are_those_of_all_samples(split: Split) -> None:
    found = standing(nn.Identity(), split, "classification", 0, HERE)
    assert found.loss == pytest.approx(float(functional.cross_entropy(SCORES, LABELS)), rel=1e-6)  # float32
    assert found.top1 == pytest.approx(float((SCORES.argmax(1) == LABELS).double().mean()))
    metrics = pytest.importorskip("sklearn.metrics")
    assert found.f1 == pytest.approx(metrics.f1_score(LABELS, SCORES.argmax(1), average="macro"))


def test_classes_that_a_sample_may_all_have_have_an_f1_and_no_top1(make_data: Any) -> None:
    marks = (torch.randn(300, 4, generator=torch.Generator().manual_seed(2)) > 0).float()
    found = standing(
        nn.Identity(), make_data("multilabel", train=(SCORES, marks)).split("train"), "multilabel", 0, HERE
    )
    metrics = pytest.importorskip("sklearn.metrics")
    assert found.f1 == pytest.approx(metrics.f1_score(marks, SCORES > 0, average="macro"))
    assert found.top1 is None


def test_parameters_are_counted_and_the_output_is_chosen(split: Split) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(4, 3)

        def forward(self, x: Any) -> Any:
            return self.other(x), x

    found = standing(Two(), split, "classification", 0, HERE, output=1)
    assert found.parameters == 15
    assert found.top1 == standing(nn.Identity(), split, "classification", 0, HERE).top1


def test_what_labels_do_not_say_is_not_said(split: Split, make_data: Any) -> None:
    assert standing(nn.Linear(4, 4), split, "classification", 0, HERE, has_labels=False) == Standing(20, None, None)
    values = make_data("regression", train=(SCORES, 2 * SCORES)).split("train")
    found = standing(nn.Identity(), values, "regression", 0, HERE)
    assert (found.loss, found.top1) == (pytest.approx(float(SCORES.square().mean()), rel=1e-6), None)  # float32


def test_standings_as_people_read_them() -> None:
    assert str(Standing(12345, 0.5, 0.875)) == "held-out loss 0.5000, top-1 87.50%, 12,345 parameters"
    assert str(Standing(12345, None, None)) == "12,345 parameters"
    full = Standing(12345, 0.5, 0.875, 0.8, 6_000_000)
    assert str(full) == "held-out loss 0.5000, top-1 87.50%, F1 80.00%, 12,345 parameters, 6,000,000 MACs"
