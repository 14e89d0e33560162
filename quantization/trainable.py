"""A graph with quantize and dequantize nodes as a network that trains: its weights, and the grids of its values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.graph import is_constant, operator, tensor_of, unwarned
from .fake_quantize import rounded_bias
from .placement import WEIGHTED, Placement

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule, Node


GRAPH = "graph"
"""The submodule of a trainable network that holds all stored tensors, under the names that they have in the program."""


@dataclass(frozen=True)
class Trainable:
    """`network` trains as any module does, and then `ranges`, `weights` and `tensors` hold what it has come to.

    `ranges` are the modules of activations by their scale's name, `weights` those of weights by the stored tensor's
    name, `tensors` everything stored that is trained, by name.
    """

    network: nn.Module
    ranges: Mapping[str, Any]
    weights: Mapping[str, Any]
    tensors: Mapping[str, nn.Parameter]


def trainable(
    module: GraphModule,
    placement: Placement,
    ranges: Mapping[float, tuple[str, Any]],
    weight_for: Callable[[Node], Any],
    has_integer_bias: bool,
    freeze_step: int,
    batch: int | None,
) -> Trainable:
    """The graph, used up, with a module in place of each quantize and dequantize pair, weight and integer bias.

    A pair is told by its scale: `ranges` gives the scale's name and the module for each. `weight_for` makes the module
    of a layer's weights. After `freeze_step` training steps nothing learns but the weights. `batch`: how many samples
    the graph takes at once, where that is fixed. What is zero in a weight stays so.
    """
    import torch

    own = _stored_in_layers(module)
    activations = _replace_pairs(module, ranges)
    weights = _replace_weights(module, placement, dict(ranges.values()), weight_for, has_integer_bias)
    module.graph.eliminate_dead_code()
    tensors = _trained(module, own)
    graph = torch.fx.GraphModule(module, module.graph)
    modules = [*activations.values(), *weights.values()]
    return Trainable(_network()(graph, modules, freeze_step, batch), activations, weights, tensors)


def in_float(module: GraphModule, batch: int | None) -> Trainable:
    """The graph, used up, as it computes in float, with nothing rounded. What is zero in a weight stays so."""
    import torch

    tensors = _trained(module, _stored_in_layers(module))
    graph = torch.fx.GraphModule(module, module.graph)
    return Trainable(_network()(graph, [], 0, batch), {}, {}, tensors)


def untrained(module: GraphModule, batch: int | None) -> nn.Module:
    """The graph as a network of one output, with copies of its tensors, that takes any number of samples."""
    import copy

    import torch

    with unwarned():
        graph = copy.deepcopy(torch.fx.GraphModule(module, module.graph))
    network: nn.Module = _network()(graph.requires_grad_(False), [], 0, batch)
    return network.eval()


def _replace_pairs(module: GraphModule, ranges: Mapping[float, tuple[str, Any]]) -> dict[str, Any]:
    names: dict[str, str] = {}
    for node in list(module.graph.nodes):
        if "dequantize_per_tensor" not in str(node.target):
            continue
        name, quantizer = ranges[node.args[1]]
        names.setdefault(name, _added(module, f"range_of_{name}", quantizer))
        with module.graph.inserting_before(node):
            replacement = module.graph.call_module(names[name], (node.args[0].args[0],))
        node.replace_all_uses_with(replacement)
        module.graph.erase_node(node)
    return {name: quantizer for name, quantizer in ranges.values() if name in names}


def _replace_weights(
    module: GraphModule,
    placement: Placement,
    ranges: Mapping[str, Any],
    weight_for: Callable[[Node], Any],
    has_integer_bias: bool,
) -> dict[str, Any]:
    nodes = {node.name: node for node in module.graph.nodes}
    weights: dict[str, Any] = {}
    names: dict[str, str] = {}
    for number, layer in enumerate(placement.layers):
        node = nodes[layer.node]
        stored: Any = node.args[1]
        target = str(stored.target)
        if target not in weights:
            weights[target] = weight_for(node)
            names[target] = _added(module, f"weight_of_{layer.node}", weights[target])
        with module.graph.inserting_before(node):
            arguments = [node.args[0], module.graph.call_module(names[target], (stored,)), *node.args[2:]]
            if has_integer_bias and len(arguments) > 2 and arguments[2] is not None:
                bias = rounded_bias(weights[target], ranges[placement.groups[layer.input]])
                arguments[2] = module.graph.call_module(_added(module, f"bias_{number}", bias), (arguments[2],))
        node.args = tuple(arguments)
    return weights


def _added(module: GraphModule, name: str, quantizer: nn.Module) -> str:
    """The name, one that nothing else has, under which the module now is part of the graph's."""
    unique = f"fake_quantize_{name}"
    while unique in module._modules:
        unique += "_"
    module.add_submodule(unique, quantizer)
    return unique


def _stored_in_layers(module: GraphModule) -> frozenset[str]:
    """The stored tensors that layers have for weights and biases, which folding may have made buffers of."""
    layers = [node for node in module.graph.nodes if operator(node) in WEIGHTED]
    return frozenset(str(tensor.target) for node in layers for tensor in node.args[1:3] if is_constant(tensor))


def _trained(module: GraphModule, own: frozenset[str]) -> dict[str, nn.Parameter]:
    """The network's parameters, and what stands in `own`, are parameters of the graph, by name."""
    from torch import nn

    found: dict[str, nn.Parameter] = {}
    for node in module.graph.nodes:
        if not is_constant(node) or str(node.target) in found:
            continue
        tensor = tensor_of(module, node)
        is_parameter = isinstance(tensor, nn.Parameter) and tensor.requires_grad
        if tensor.is_floating_point() and (is_parameter or str(node.target) in own):
            found[str(node.target)] = _own_parameter(module, str(node.target), tensor)
    return found


def _own_parameter(module: GraphModule, name: str, tensor: Tensor) -> nn.Parameter:
    from torch import nn

    owner, _, last = name.rpartition(".")
    holder = module.get_submodule(owner)
    parameter = nn.Parameter(tensor.detach().clone())
    delattr(holder, last)
    holder.register_parameter(last, parameter)
    zeros = parameter.detach() == 0
    if parameter.dim() > 1 and bool(zeros.any()):
        register: Any = parameter.register_hook
        register(lambda gradient: gradient.masked_fill(zeros.to(gradient.device), 0))
    return parameter


@functools.cache
def _network() -> Any:
    import torch
    from torch import nn
    from torch.utils._pytree import tree_leaves

    class Network(nn.Module):
        steps: Tensor

        def __init__(self, graph: nn.Module, quantizers: list[Any], freeze_step: int, batch: int | None) -> None:
            super().__init__()
            self.graph, self.freeze_step, self.batch = graph, freeze_step, batch
            self._quantizers = tuple(quantizers)  # in a tuple: they are submodules of the graph
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

        def forward(self, *inputs: Tensor) -> Tensor:
            """The first output for any number of samples. A call in training mode is a step."""
            if self.training:
                self.steps += 1
            is_frozen = int(self.steps) > self.freeze_step
            for quantizer in self._quantizers:
                quantizer.is_frozen = is_frozen
            if self.batch is None:
                return self._first(*inputs)
            pieces = range(0, len(inputs[0]), self.batch)
            return torch.cat([self._piece(inputs, start, self.batch) for start in pieces])

        def _piece(self, inputs: tuple[Tensor, ...], start: int, batch: int) -> Tensor:
            """The outputs for up to `batch` samples; where there are fewer, the last one is repeated."""
            parts = [values[start : start + batch] for values in inputs]
            missing = batch - len(parts[0])
            filled = [torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) for part in parts]
            return self._first(*filled)[: len(parts[0])]

        def _first(self, *inputs: Tensor) -> Tensor:
            outputs: list[Tensor] = tree_leaves(self.graph(*inputs))
            return outputs[0]

    return Network
