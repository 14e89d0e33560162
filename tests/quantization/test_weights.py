"""Integers in place of weights and biases."""

from __future__ import annotations

import pytest
import torch
from edgewright.ir.graph import editable, operator, tensor_of
from edgewright.ir.state import register_quantized_operators
from edgewright.quantization.weights import WeightStore, channel_axis
from torch import nn
from torch.fx import GraphModule, Node


@pytest.fixture
def layer() -> tuple[GraphModule, Node]:
    """A convolution of four channels, alone in its graph."""
    register_quantized_operators()
    torch.manual_seed(0)
    module = editable(torch.export.export(nn.Conv2d(3, 4, 3).eval(), (torch.zeros(1, 3, 8, 8),)))
    return module, next(node for node in module.graph.nodes if operator(node) == "conv2d")


@pytest.mark.parametrize(("bits", "limit"), [(8, 127), (7, 63), (4, 7)])
def test_each_channel_fills_its_grid(layer: tuple[GraphModule, Node], bits: int, limit: int) -> None:
    module, node = layer
    exact = tensor_of(module, node.args[1]).detach()
    with module.graph.inserting_before(node):
        weights, scales = WeightStore(module, bits, "per-channel", ()).weight(node, torch.zeros(4))
    codes = tensor_of(module, weights.args[0])
    assert codes.dtype == torch.int8
    assert codes.reshape(4, -1).abs().amax(1).tolist() == [limit] * 4
    error = (codes * scales.reshape(-1, 1, 1, 1) - exact).abs().reshape(4, -1).amax(1)
    assert bool((error <= scales * 0.5001).all())  # half a step, and the rounding of the division


@pytest.mark.parametrize(("granularity", "per_tensor"), [("per-tensor", ()), ("per-channel", ("conv2d",))])
def test_one_scale_where_it_is_asked_for(
    layer: tuple[GraphModule, Node], granularity: str, per_tensor: tuple[str, ...]
) -> None:
    module, node = layer
    with module.graph.inserting_before(node):
        _, scales = WeightStore(module, 8, granularity, per_tensor).weight(node, torch.zeros(4))
    assert len(scales.unique()) == 1


def test_equal_weights_are_equal_integers_where_values_are_shared(layer: tuple[GraphModule, Node]) -> None:
    module, node = layer
    weight = tensor_of(module, node.args[1]).detach()
    weight.copy_(weight.sign() * torch.tensor([0.25, 1.0])[(weight > 0).long()])
    weight[0].clamp_(-0.25, 0.25)  # a channel that would have a scale of its own
    store = WeightStore(module, 8, "per-channel", (), shared=(str(node.args[1].target),))
    with module.graph.inserting_before(node):
        weights, scales = store.weight(node, torch.tensor([0.0, 0.02, 0.0, 0.0]))
    codes = tensor_of(module, weights.args[0])
    assert len(scales.unique()) == 1
    assert all(len(codes[weight == value].unique()) == 1 for value in weight.unique())


def test_a_weight_is_stored_once(layer: tuple[GraphModule, Node]) -> None:
    module, node = layer
    store = WeightStore(module, 8, "per-channel", ())
    with module.graph.inserting_before(node):
        first, second = (store.weight(node, torch.zeros(4))[0] for _ in range(2))
    assert first.args[0].target == second.args[0].target


def test_a_bias_lies_on_the_grid_of_its_sums(layer: tuple[GraphModule, Node]) -> None:
    module, node = layer
    store, step = WeightStore(module, 8, "per-channel", ()), 0.02
    exact = tensor_of(module, node.args[2]).detach()
    with module.graph.inserting_before(node):
        _, scales = store.weight(node, torch.zeros(4))
        bias = store.bias(node, scales, step)
    codes, grid = tensor_of(module, bias.args[0]), tensor_of(module, bias.args[1])
    assert codes.dtype == torch.int32
    assert torch.equal(grid, (scales.double() * step).float())
    assert bool(((codes.double() * grid - exact).abs() <= grid * 0.5001).all())


def test_the_channels_of_transposed_weights_are_their_second_axis() -> None:
    program = torch.export.export(nn.ConvTranspose2d(3, 4, 3).eval(), (torch.zeros(1, 3, 8, 8),))
    (node,) = [node for node in program.graph.nodes if operator(node) == "conv_transpose2d"]
    assert channel_axis(node) == 1


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
def test_trained_scales_are_taken_as_they_are_unless_a_bias_needs_more(
    layer: tuple[GraphModule, Node], granularity: str
) -> None:
    module, node = layer
    name = str(node.args[1].target)
    trained = [0.01, 0.02, 0.03, 0.04] if granularity == "per-channel" else [0.02] * 4
    store = WeightStore(module, 8, granularity, (), {name: trained})
    with module.graph.inserting_before(node):
        weights, scales = store.weight(node, torch.zeros(4))
    assert torch.equal(scales, torch.tensor(trained))
    aligned = scales.reshape(-1, 1, 1, 1)
    exact = tensor_of(module, node.args[1]).detach()
    assert torch.equal(tensor_of(module, weights.args[0]), (exact / aligned).round().clamp(-127, 127).to(torch.int8))
    floor = torch.tensor([0.0, 0.0, 0.0, 0.5])
    other = WeightStore(module, 8, granularity, (), {name: trained})
    with module.graph.inserting_before(node):
        _, raised = other.weight(node, floor)
    assert raised.tolist() == ([*scales.tolist()[:3], 0.5] if granularity == "per-channel" else [0.5] * 4)
