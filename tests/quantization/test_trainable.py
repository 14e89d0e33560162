"""A graph that trains: what becomes a parameter, what is frozen when, and networks whose batch is fixed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from edgewright.ir.graph import editable, export, operator
from edgewright.ir.state import register_quantized_operators
from edgewright.quantization.fake_quantize import largest_weight, learned_range, learned_weight
from edgewright.quantization.grids import Grid, activation_grid, weight_scales
from edgewright.quantization.placement import place
from edgewright.quantization.rules import Rules
from edgewright.quantization.trainable import GRAPH, Trainable, in_float, trainable, untrained
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

RULES = Rules(("conv2d",), (), (), ("relu",))
GRID = activation_grid(-3.0, 3.0, Grid("int8", False))


class Small(nn.Module):
    """A convolution with a bias that is a buffer and a weight with zeros, then a scale that is a parameter."""

    bias: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.scale = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.ones(4, 1, 1))
        self.register_buffer("bias", torch.randn(4))
        self.register_buffer("offset", torch.ones(4, 1, 1))
        with torch.no_grad():
            self.weight[:, 0] = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = nn.functional.conv2d(x, self.weight, self.bias)
        return x * self.scale + self.offset, x


def program_of(open_batch: bool = True) -> ExportedProgram:
    """`Small`, exported for a batch of two or of any size."""
    return export(Small().eval(), (images(2),), open_batch)


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 5, 5, generator=torch.Generator().manual_seed(1))


def with_nodes(program: ExportedProgram) -> GraphModule:
    """The graph with a quantize and a dequantize node behind its input, told by the scale 1."""
    register_quantized_operators()
    module, operators = editable(program), torch.ops.quantized_decomposed
    layer = next(node for node in module.graph.nodes if operator(node) == "conv2d")
    form = (1.0, 0, -128, 127, torch.int8)
    with module.graph.inserting_before(layer):
        quantized = module.graph.call_function(operators.quantize_per_tensor.default, (layer.args[0], *form))
        dequantized = module.graph.call_function(operators.dequantize_per_tensor.default, (quantized, *form))
    layer.args = (dequantized, *layer.args[1:])
    return module


def made(program: ExportedProgram, freeze_step: int = 100, batch: int | None = None, learned: bool = True) -> Trainable:
    placement = place(editable(program).graph, RULES)
    (name,) = {placement.groups[layer.input] for layer in placement.layers}
    weight = program.state_dict["weight"].detach()
    scales, floor = weight_scales(weight, 7, "per-channel", torch.zeros(4)), torch.zeros(4)

    def weight_for(node: Node) -> Any:
        return learned_weight(scales, floor, 0, 7, False) if learned else largest_weight(floor, 0, 7, "per-channel")

    ranges = {1.0: (name, learned_range(GRID, False))}
    return trainable(with_nodes(program), placement, ranges, weight_for, True, freeze_step, batch)


def steps(network: nn.Module, count: int) -> None:
    """As many steps of training, in which outputs are to be zero."""
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    network.train()
    for _ in range(count):
        optimizer.zero_grad()
        network(images(4)).square().mean().backward()
        optimizer.step()


def test_parameters_and_what_layers_store_are_trained_and_the_program_is_left_alone() -> None:
    program = program_of()
    before = copy.deepcopy(dict(program.state_dict))
    found = made(program)
    assert set(found.tensors) == {"weight", "bias", "scale"}
    steps(found.network, 3)
    assert all(not torch.equal(tensor.detach(), before[name]) for name, tensor in found.tensors.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in program.state_dict.items())


def test_what_is_zero_in_a_weight_stays_so() -> None:
    found = made(program_of())
    steps(found.network, 5)
    weight = found.tensors["weight"].detach()
    assert not weight[:, 0].any()
    assert bool((weight[:, 1:] != 0).all())


def test_only_weights_learn_after_the_step_that_freezes() -> None:
    found = made(program_of(), freeze_step=2)
    learning = [module.log_step for module in (*found.ranges.values(), *found.weights.values())]
    assert len(learning) == 2
    steps(found.network, 2)
    frozen = [parameter.detach().clone() for parameter in learning]
    assert all(bool((parameter != 0).all()) for parameter in frozen)
    weight = found.tensors["weight"].detach().clone()
    steps(found.network, 3)
    assert all(torch.equal(parameter, was) for parameter, was in zip(learning, frozen, strict=True))
    assert not torch.equal(found.tensors["weight"].detach(), weight)
    assert int(found.network.steps) == 5


def test_steps_are_counted_in_training_alone_and_are_part_of_the_weights() -> None:
    found = made(program_of())
    found.network.eval()(images(4))
    assert int(found.network.state_dict()["steps"]) == 0
    steps(found.network, 1)
    assert int(found.network.state_dict()["steps"]) == 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_graph_with_a_fixed_batch_takes_any_number_of_samples(count: int) -> None:
    fixed, open_ = made(program_of(open_batch=False), batch=2), made(program_of())
    with torch.no_grad():
        torch.testing.assert_close(fixed.network.eval()(images(count)), open_.network.eval()(images(count)))


def test_what_is_computed_lies_on_the_grids() -> None:
    """The first output is that of the layer whose input, weights and bias are rounded by hand."""
    program = program_of()
    found, given = made(program, learned=False), images(4)
    module = Small()
    scales = weight_scales(module.weight.detach(), 7, "per-channel", torch.zeros(4)).reshape(-1, 1, 1, 1)
    rounded = (given / GRID.scale).round().add(GRID.zero_point).clamp(-128, 127).sub(GRID.zero_point) * GRID.scale
    steps_of_bias = (scales.flatten().double() * GRID.scale).float()
    with torch.no_grad():
        module.weight.copy_((module.weight / scales).round() * scales)
        module.bias.copy_((module.bias / steps_of_bias).round() * steps_of_bias)
        assert torch.equal(found.network.eval()(given), module(rounded)[0])


def test_in_float_nothing_is_rounded_and_zeros_stay() -> None:
    program = program_of()
    network = in_float(editable(program), None)
    with torch.no_grad():
        assert torch.equal(network.network.eval()(images(3)), program.module()(images(3))[0])
    assert set(network.tensors) == {"weight", "bias", "scale"}
    named = dict(network.network.named_parameters())
    assert all(named[f"{GRAPH}.{name}"] is tensor for name, tensor in network.tensors.items())
    steps(network.network, 2)
    assert bool((network.tensors["weight"][:, 0] == 0).all())
    assert not torch.equal(network.tensors["bias"], program.state_dict["bias"])


def test_an_untrained_network_computes_what_the_program_does_with_tensors_of_its_own() -> None:
    program = program_of(open_batch=False)
    network = untrained(editable(program), 2)
    with torch.no_grad():
        torch.testing.assert_close(network(images(5)), Small()(images(5))[0])
        assert not any(parameter.requires_grad for parameter in network.parameters())
        for parameter in network.parameters():
            parameter.zero_()
    assert bool(program.state_dict["weight"].any())
