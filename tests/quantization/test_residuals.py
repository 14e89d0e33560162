"""Which sums a layer takes in, and what of them is read in int8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from edgewright.ir.graph import editable, export, operator
from edgewright.quantization.residuals import residuals
from torch import Tensor, nn
from torch.fx import Graph, Node


class Network(nn.Module):
    """Two convolutions, put together by the function that a test writes."""

    def __init__(self, forward: Callable[[Network, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.table = nn.Parameter(torch.ones(1, 4, 8, 8))
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def graph_of(forward: Callable[[Network, Tensor], Tensor]) -> Graph:
    return editable(export(Network(forward).eval(), (torch.zeros(2, 4, 8, 8),), True)).graph


def layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if operator(node) == "conv2d"]


def named(graph: Graph) -> dict[str, str]:
    found = residuals(graph.nodes, layers(graph), ("add",))
    return {operator(node): operator(other) or other.op for node, other in found.items()}


@pytest.mark.parametrize(("forward", "residual"), [
    (lambda net, x: net.first(x) + x, "placeholder"),
    (lambda net, x: x + net.first(x), "placeholder"),
    (lambda net, x: net.first(x).relu() + net.second(x), "relu"),
])  # fmt: skip
def test_the_operand_that_no_layer_computes_is_the_residual(
    forward: Callable[[Network, Tensor], Tensor], residual: str
) -> None:
    assert named(graph_of(forward)) == {"add": residual}


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_layers_the_later_one_takes_the_sum(swapped: bool) -> None:
    def forward(net: Network, x: Tensor) -> Tensor:
        early, late = net.first(x), net.second(x)
        return late + early if swapped else early + late

    graph = graph_of(forward)
    first, second = layers(graph)
    (residual,) = residuals(graph.nodes, [first, second], ("add",)).values()
    assert residual is first
    (residual,) = residuals(graph.nodes, [first], ("add",)).values()
    assert residual is second


@pytest.mark.parametrize("forward", [
    lambda net, x: net.first(x) + net.table,
    lambda net, x: net.first(x) + 1.0,
    lambda net, x: torch.add(net.first(x), x, alpha=2),
    lambda net, x: net.first(x) + x.mean((2, 3), keepdim=True),
    lambda net, x: (y := net.first(x)) + y,
    lambda net, x: (y := net.first(x)) + net.second(y).relu(),
    lambda net, x: net.first(x).relu() + net.second(x).relu(),
    lambda net, x: net.first(x) * x,
])  # fmt: skip
def test_other_sums_are_not_taken_in(forward: Callable[[Network, Tensor], Tensor]) -> None:
    assert named(graph_of(forward)) == {}


def test_where_the_target_fuses_no_sums_there_are_none() -> None:
    graph = graph_of(lambda net, x: net.first(x) + x)
    assert residuals(graph.nodes, layers(graph), ()) == {}
