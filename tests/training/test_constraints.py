"""Zeros that an optimizer can't move, and equal weights that it can't tell apart."""

from __future__ import annotations

import pytest
import torch
from edgewright.training.constraints import Clusters, Constraints
from torch import nn


def test_what_was_zero_is_zero_again_and_the_rest_is_left_alone() -> None:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight[0, :2] = 0
    held = Constraints(layer, ["weight"])
    with torch.no_grad():
        layer.weight.fill_(3)
        layer.bias.fill_(5)
    held.apply()
    assert layer.weight.tolist() == [[0, 0, 3, 3], [3, 3, 3, 3]]
    assert layer.bias.tolist() == [5, 5]


def test_no_names_hold_nothing() -> None:
    layer = nn.Linear(2, 2)
    held = Constraints(layer, [])
    with torch.no_grad():
        layer.weight.fill_(1)
    held.apply()
    assert bool((layer.weight == 1).all())


def test_weights_that_two_modules_share_are_found_by_either_name() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    with torch.no_grad():
        first.weight[0] = 0
    held = Constraints(nn.Sequential(first, second), ["0.weight", "1.weight"])
    with torch.no_grad():
        first.weight.fill_(1)
    held.apply()
    assert second.weight.tolist() == [[0, 0], [1, 1]]


def shared_layer() -> nn.Linear:
    """Weights of the three values -1, 0 and 2."""
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0, 2.0], [0.0, 2.0, -1.0]]))
    return layer


def test_the_gradient_of_a_value_is_the_sum_of_its_weights_by_hand() -> None:
    """Han et al. 2016, figure 3: gradients are grouped by index and summed, and each value moves by its sum."""
    layer = shared_layer()
    held = Constraints(layer, [], ["weight"])
    layer.weight.grad = torch.tensor([[1.0, 10.0, 2.0], [100.0, 4.0, 20.0]])
    held.gather()
    assert layer.weight.grad.tolist() == [[7, 30, 7], [100, 7, 30]]
    torch.optim.SGD([layer.weight], lr=0.5).step()
    held.apply()
    assert layer.weight.tolist() == [[-1.5, -16, -1.5], [-50, -1.5, -16]]


def test_the_gradient_is_what_autograd_finds_for_the_values_themselves() -> None:
    values = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    index, x = torch.tensor([[2, 0, 2], [1, 2, 0]]), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    nn.functional.linear(x, values[index]).square().sum().backward()
    layer = shared_layer()
    nn.init.zeros_(layer.bias)
    held = Constraints(layer, [], ["weight"])
    layer(x).square().sum().backward()
    held.gather()
    assert layer.weight.grad is not None
    assert values.grad is not None
    torch.testing.assert_close(layer.weight.grad, values.grad[index])


def test_a_value_of_zero_stays_where_zeros_are_held_and_moves_where_not() -> None:
    for masked, expected in (["weight"], 0.0), ([], -1.0):
        layer = shared_layer()
        held = Constraints(layer, masked, ["weight"])
        layer.weight.grad = torch.ones(2, 3)
        held.gather()
        torch.optim.SGD([layer.weight], lr=1.0).step()
        held.apply()
        assert float(layer.weight.detach()[1, 0]) == expected
        assert layer.weight.detach()[0].tolist() == [-1.0, -3.0, -1.0]  # three weights, and two


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_no_optimizer_tells_equal_weights_apart(optimizer: type[torch.optim.Optimizer]) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(37, 41)
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-3, 4, layer.weight.shape, generator=generator))
    before, held = layer.weight.detach().clone(), Constraints(layer, [], ["weight"])
    steps = optimizer([layer.weight], lr=0.01, weight_decay=0.1)
    for _ in range(20):
        layer.weight.grad = torch.randn(layer.weight.shape, generator=generator)
        held.gather()
        steps.step()
        held.apply()
    found = [layer.weight[before == value].unique() for value in range(-3, 4)]
    assert [len(values) for values in found] == [1] * 7
    assert len(torch.cat(found).unique()) == 7


def test_clusters_of_one_weight_each_sum_to_themselves() -> None:
    values = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Clusters.of(values).summed(values), values)
    assert torch.equal(Clusters.of(values).united(values), values)
