"""Mixed precision: what layers compute in, what losses are scaled by, and what can't be done."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.training.precision import MixedPrecision
from torch import nn

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_layers_compute_in_it_and_losses_in_float32(precision: Any) -> None:
    mixed = MixedPrecision(precision, CPU)
    layer = nn.Linear(2, 2)
    with mixed.computing():
        found = layer(torch.ones(1, 2))
    assert found.dtype == getattr(torch, precision)
    assert mixed.outputs(found).dtype == torch.float32
    assert layer.weight.dtype == torch.float32


def test_gradients_that_float16_would_lose_are_kept() -> None:
    """Half of the smallest number that float16 holds comes back into a float16 layer."""
    layer, mixed = nn.Linear(1, 1, bias=False), MixedPrecision("float16", CPU)
    kept = []
    for scaled in (lambda loss: loss, mixed.scaled):
        with mixed.computing():
            found = layer(torch.ones(1, 1))
        layer.zero_grad()
        scaled(2.0**-25 * mixed.outputs(found).sum()).backward()
        kept.append(float(layer.weight.grad))
    assert kept == [0, 2.0**-25 * mixed.scaler.get_scale()]


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved() -> None:
    mixed = MixedPrecision("float16", CPU)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.5)
    scale = mixed.scaler.get_scale()
    mixed.scaled(weight.sum() * 0).backward()
    weight.grad = torch.tensor([float("inf")])
    mixed.step(optimizer)
    assert weight.item() == 1
    assert mixed.state()["scale"] == scale / 2
    optimizer.zero_grad()
    mixed.scaled(weight.sum()).backward()
    mixed.step(optimizer)
    assert weight.item() == 0.5
    other = MixedPrecision("float16", CPU)
    other.load(mixed.state())
    assert other.state() == mixed.state()


def test_a_step_whose_samples_other_processes_have_is_taken() -> None:
    """Their gradients are added up; this process scaled no loss of its own."""
    mixed, weight = MixedPrecision("float16", CPU), nn.Parameter(torch.ones(1))
    weight.grad = torch.tensor([mixed.scaler.get_scale()])
    mixed.step(torch.optim.SGD([weight], 0.5))
    assert weight.item() == 0.5


def test_others_scale_nothing() -> None:
    mixed = MixedPrecision("bfloat16", CPU)
    loss = torch.ones(())
    assert mixed.scaled(loss) is loss
    assert mixed.state() == {}
    mixed.load({})


def test_a_layer_that_cannot_compute_so_is_an_error_that_says_what_to_do() -> None:
    message = "training: the network does not compute in float16 on cpu, float32 may do: no kernel"
    with pytest.raises(StepError, match=message), MixedPrecision("float16", CPU).computing():
        raise RuntimeError("no kernel\nand much more")
    with pytest.raises(RuntimeError, match=r"^other$"), MixedPrecision("float32", CPU).computing():
        raise RuntimeError("other")
