"""Objectives: the task's own loss is that of the labels, trained on and judged alike."""

from __future__ import annotations

import torch
from edgewright.recipe.datasets import Batch
from edgewright.training.losses import loss_for
from edgewright.training.objective import HardLabels, moved
from torch.nn import functional


def test_hard_labels_are_the_tasks_loss() -> None:
    inputs, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    objective, batch = HardLabels(loss_for("classification")), Batch((inputs,), labels)
    objective.start(torch.device("cpu"))
    expected = functional.cross_entropy(2 * inputs, labels)
    assert torch.equal(objective.loss(lambda values: 2 * values, batch, range(5)), expected)
    assert torch.equal(objective.judge(lambda values: 2 * values, batch), expected)
    assert (objective.identity, objective.helpers) == ("", ())


def test_a_piece_of_a_batch_is_moved() -> None:
    batch = Batch((torch.arange(6.0).reshape(3, 2), torch.arange(3)), torch.tensor([4, 5, 6]))
    found = moved(batch, torch.device("meta"), slice(1, 3))
    assert [(tensor.shape, tensor.device.type) for tensor in found.inputs] == [((2, 2), "meta"), ((2,), "meta")]
    assert moved(batch, torch.device("cpu"), slice(1, 3)).labels.tolist() == [5, 6]
    assert torch.equal(moved(batch, torch.device("cpu")).inputs[0], batch.inputs[0])
