"""Hidden units of recurrent layers: what goes with them, by hand and by what the layer then computes."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from edgewright.channels.recurrent import by_channel, gates, is_recurrent, remove, why_fixed
from torch import nn

STACKS: list[dict[str, Any]] = [
    {"num_layers": layers, "bidirectional": both, "bias": bias}
    for layers, both, bias in itertools.product((1, 2), (False, True), (False, True))
]


def test_a_plain_layer_by_hand() -> None:
    """Two inputs, two units: unit 1 has a row in both weights and a column in the recurrent one."""
    layer = nn.RNN(2, 2, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.weight_hh_l0.copy_(torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    units = torch.cat(by_channel(layer, "out", layer.get_parameter), 1)
    assert units.tolist() == [[1, 2, 5, 6, 5, 7], [3, 4, 7, 8, 6, 8]]
    assert torch.cat(by_channel(layer, "in", layer.get_parameter), 1).tolist() == [[1, 3], [2, 4]]
    remove(layer, "out", [1])
    assert (layer.weight_ih_l0.tolist(), layer.weight_hh_l0.tolist()) == ([[1, 2]], [[5]])
    remove(layer, "in", [0])
    assert layer.weight_ih_l0.tolist() == [[2]]
    assert (layer.input_size, layer.hidden_size) == (1, 1)


def test_a_unit_has_a_row_in_each_gate() -> None:
    layer = nn.LSTM(1, 2)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.arange(8.0).reshape(8, 1))
        layer.bias_ih_l0.copy_(torch.arange(8.0))
    remove(layer, "out", [0])
    assert layer.weight_ih_l0.flatten().tolist() == layer.bias_ih_l0.tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", STACKS, ids=str)
def test_without_units_a_layer_gives_what_it_gives_with_them_zero(kind: type[nn.RNNBase], options: Any) -> None:
    """Zero means: no row and no column of theirs is anything but zero, in any layer and direction."""
    torch.manual_seed(0)
    whole, gone = kind(3, 4, **options).double(), [0, 2]
    left = [1, 3]
    zeroed, smaller = copy.deepcopy(whole), copy.deepcopy(whole)
    remove(smaller, "out", gone)
    with torch.no_grad():
        for key, tensor in zeroed.named_parameters():
            tensor.reshape(gates(whole), 4, -1)[:, gone] = 0
            if "weight_hh" in key or ("weight_ih" in key and "_l0" not in key):
                tensor.reshape(len(tensor), -1, 4)[:, :, gone] = 0
        x = torch.randn(5, 2, 3, dtype=torch.float64)
        expected, found = zeroed(x), smaller(x)
    directions = 2 if options["bidirectional"] else 1
    places = [direction * 4 + unit for direction in range(directions) for unit in left]
    torch.testing.assert_close(found[0], expected[0][..., places])
    states = zip(found[1], expected[1], strict=True) if kind is nn.LSTM else [(found[1], expected[1])]
    for one, other in states:
        torch.testing.assert_close(one, other[..., left])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_without_inputs_a_layer_gives_what_it_gives_where_they_are_zero(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    layer = kind(3, 4, num_layers=2, bidirectional=True).double()
    smaller = copy.deepcopy(layer)
    remove(smaller, "in", [1])
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    silent = x.clone()
    silent[..., 1] = 0
    torch.testing.assert_close(smaller(x[..., [0, 2]])[0], layer(silent)[0])


def test_a_smaller_layer_learns_and_keeps_what_was_frozen_frozen() -> None:
    layer = nn.GRU(3, 4)
    layer.weight_ih_l0.requires_grad_(False)
    remove(layer, "out", [0])
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    assert layer.weight_ih_l0.grad is None
    assert layer.weight_hh_l0.grad.shape == (9, 3)


def test_what_can_not_lose_units_says_why() -> None:
    assert is_recurrent(nn.GRU(1, 1))
    assert not is_recurrent(nn.Linear(1, 1))
    assert why_fixed(nn.LSTM(1, 4)) == why_fixed(nn.RNN(1, 4, nonlinearity="relu")) == ""
    assert why_fixed(nn.LSTM(1, 4, proj_size=2)) == "its outputs are projections of its units (proj_size)"
