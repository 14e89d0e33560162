"""The optimizer of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem
from .schedule import TrainingOptions

if TYPE_CHECKING:
    from torch import nn


def optimizer_for(module: nn.Module, options: TrainingOptions, helpers: Iterable[nn.Module] = ()) -> Any:
    """AdamW, or SGD with Nesterov's momentum, for what can be trained of the module and of the helpers beside it.

    Norms and biases (one axis or none) don't decay. InputError where nothing of the module can be trained.
    """
    import torch

    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError(Problem("model", "", "parameters that can be trained", "none"))
    trained += [parameter for helper in helpers for parameter in helper.parameters()]
    groups = [
        {"params": [entry for entry in trained if entry.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [entry for entry in trained if entry.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate)
