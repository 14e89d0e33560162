"""Objectives: the task's own loss is that of the labels, trained on and judged alike."""

from __future__ import annotations

import torch
from edgewright.recipe.datasets import Batch
from edgewright.training.losses import loss_for
from edgewright.training.objective import HardLabels
from torch.nn import functional


def test_hard_labels_are_the_tasks_loss() -> None:
    inputs, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    objective, batch = HardLabels(loss_for("classification")), Batch((inputs,), labels)
    objective.start(torch.device("cpu"))
    expected = functional.cross_entropy(2 * inputs, labels)
    assert torch.equal(objective.loss(lambda values: 2 * values, batch, range(5)), expected)
    assert torch.equal(objective.judge(lambda values: 2 * values, batch), expected)
    assert (objective.identity, objective.helpers) == ("", ())
