"""Losses: torch's own for what fits, and a message with both shapes for what does not."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.schema import TASKS
from edgewright.training.losses import loss_for
from torch import Tensor
from torch.nn import functional


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_every_task_of_a_recipe_can_be_trained() -> None:
    assert all(callable(loss_for(task)) for task in TASKS)


def test_a_metric_of_the_users_own_is_no_loss() -> None:
    with pytest.raises(InputError) as caught:
        loss_for("metrics.py:score")
    expected = "recipe: task: expected one that can be trained: classification, multilabel, regression"
    assert str(caught.value) == f"{expected}, got 'metrics.py:score'"


@pytest.mark.parametrize("places", [(), (4, 5)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_classification_is_cross_entropy(places: tuple[int, ...], dtype: torch.dtype) -> None:
    outputs, labels = random(6, 3, *places), torch.arange(6 * 20).reshape(6, 20)[:, : 20 if places else 1] % 3
    labels = labels.reshape(6, *places).to(dtype)
    assert torch.equal(loss_for("classification")(outputs, labels), functional.cross_entropy(outputs, labels.long()))


def test_multilabel_is_binary_cross_entropy() -> None:
    outputs, labels = random(6, 3), (random(6, 3) > 0).long()
    expected = functional.binary_cross_entropy_with_logits(outputs, labels.float())
    assert torch.equal(loss_for("multilabel")(outputs, labels), expected)


@pytest.mark.parametrize(("outputs", "labels"), [((6,), (6,)), ((6, 1), (6,)), ((6, 2, 3), (6, 6)), ((6,), (6, 1))])
def test_regression_is_the_mean_squared_error(outputs: tuple[int, ...], labels: tuple[int, ...]) -> None:
    given, wanted = random(*outputs), random(*labels) + 1
    expected = (given.flatten() - wanted.flatten()).square().mean()
    assert torch.equal(loss_for("regression")(given, wanted), expected)


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "message"),
    [
        ("classification", random(6, 3), torch.zeros(6), "class indices of shape (6,) for outputs (6, 3), got torch"),
        ("classification", random(6, 3), torch.zeros(6, 3, dtype=torch.int64), "of shape (6,) for outputs (6, 3)"),
        ("classification", random(6, 3, 4), torch.zeros(6, dtype=torch.int64), "of shape (6, 4) for outputs (6, 3, 4)"),
        ("classification", random(6, 3), torch.arange(6), "class indices from 0 to 2, got 0 to 5"),
        ("classification", random(6, 3), torch.arange(6) % 3 - 1, "class indices from 0 to 2, got -1 to 1"),
        ("classification", random(6), torch.arange(6), "model: outputs: expected a score for each class, (N, classes"),
        ("multilabel", random(6, 3), torch.arange(6), "a 0 or 1 for each output (6, 3), got (6,)"),
        ("regression", random(6, 2), random(6), "values of shape (6, 2), as the outputs, got (6,)"),
        ("regression", random(6, 2), random(4, 3), "values of shape (6, 2), as the outputs, got (4, 3)"),
    ],
)
def test_what_does_not_fit_is_said_with_both_shapes(task: str, outputs: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        loss_for(task)(outputs, labels)
    assert message in str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_weighs_its_samples_alike(task: str) -> None:
    """The mean over the samples: halves of a batch have the whole's loss in the middle, so that sums can be taken."""
    outputs = random(8, 3)
    labels = {"classification": torch.arange(8) % 3, "multilabel": (random(8, 3) > 0).long(), "regression": -outputs}
    loss, given = loss_for(task), labels[task]
    halves = (loss(outputs[:4], given[:4]) + loss(outputs[4:], given[4:])) / 2
    assert torch.allclose(loss(outputs, given), halves, rtol=len(outputs) * torch.finfo(torch.float32).eps, atol=0)
