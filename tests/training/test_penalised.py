from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from edgewright.recipe.datasets import Batch
from edgewright.training.loop import TrainingOptions, train
from edgewright.training.losses import loss_for
from edgewright.training.objective import HardLabels
from edgewright.training.penalised import Penalised
from torch import nn


def penalised(layer: nn.Linear, strength: float) -> Penalised:
    return Penalised(HardLabels(loss_for("regression")), lambda: layer.weight.abs().sum(), strength, "size")


def test_the_loss_has_the_penalty_and_the_judge_nothing_else() -> None:
    layer = nn.Linear(1, 1)
    layer.weight.data.fill_(-2.0)
    layer.bias.data.fill_(0.0)
    batch = Batch((torch.tensor([[1.0]]),), torch.tensor([[1.0]]))
    objective = penalised(layer, 0.5)
    assert float(objective.loss(layer, batch, [0])) == 9.0 + 0.5 * 2.0
    assert float(objective.judge(layer, batch)) == 2.0
    assert objective.identity == "+0.5*size"
    assert objective.helpers == ()


def test_what_is_paid_for_shrinks_and_the_shrunk_weights_are_kept(
    make_data: Callable[..., Any], tmp_path: Path, listener: Any
) -> None:
    """y = x: without a penalty the weight stays 1; with one it is 1 - strength / 2 where the loss's slope meets it."""
    x = torch.linspace(-1, 1, 200).reshape(-1, 1) * 3**0.5
    layer = nn.Linear(1, 1)
    layer.weight.data.fill_(1.0)
    layer.bias.data.fill_(0.0)
    options = TrainingOptions(40, learning_rate=0.005, weight_decay=0.0, batch_size=20)
    train(
        layer, make_data("regression", train=(x, x)), "regression", options, seed=0, scratch=tmp_path,
        progress=listener, objective=penalised(layer, 0.5),
    )  # fmt: skip
    a_step = 0.05
    assert abs(layer.weight.item() - 0.75) < a_step
