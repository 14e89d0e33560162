"""The optimizer: what it trains, what decays, and that nothing to train is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.training.optimizer import optimizer_for
from edgewright.training.schedule import TrainingOptions
from torch import nn

OPTIONS = TrainingOptions(1, weight_decay=0.1)


def test_weights_decay_and_biases_and_norms_do_not() -> None:
    module, helper = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
    decays, stays = optimizer_for(module, OPTIONS, [helper]).param_groups
    assert (decays["weight_decay"], stays["weight_decay"]) == (0.1, 0.0)
    assert [id(entry) for entry in decays["params"]] == [id(module[0].weight), id(helper.weight)]
    assert len(stays["params"]) == 4


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimizer_is_the_one_that_is_named(name: Any, kind: type) -> None:
    assert type(optimizer_for(nn.Linear(2, 2), TrainingOptions(1, name))) is kind


def test_frozen_parameters_are_left_out_and_a_frozen_network_is_refused() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert [len(group["params"]) for group in optimizer_for(module, OPTIONS).param_groups] == [1, 0]
    with pytest.raises(InputError, match="model: expected parameters that can be trained, got none"):
        optimizer_for(module.requires_grad_(False), OPTIONS, [nn.Linear(2, 2)])
