"""Layers carry the names of the user's modules, of which litert-torch knows nothing in an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...ir.graph import operator
from ...quantization.placement import WEIGHTED, layer_name
from .coverage import WEIGHTS
from .graph import Model, Operator, Tensor, operators, text

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def name_layers(model: Model, program: ExportedProgram) -> None:
    """A layer's weights are called as the module that it was; its bias so with "/bias", its output with "/output".

    Layers come out of the converter in the order in which they went in. Where it made several of one, or one of
    several, those with as many weights keep the names that it gave them.
    """
    modules: dict[int, list[str]] = {}
    for node in program.graph.nodes:
        if operator(node) in WEIGHTED:
            modules.setdefault(node.args[1].meta["val"].numel(), []).append(layer_name(node))
    main = [step for step in operators(model) if step.subgraph == 0]
    makers = {tensor.index: step for step in main for tensor in step.outputs}
    layers: dict[int, list[tuple[Operator, Tensor]]] = {}
    for step in main:
        if step.name in WEIGHTS and (weights := _constant(step, makers)) is not None:
            layers.setdefault(weights.elements, []).append((step, weights))
    named: set[int] = set()
    for elements, found in layers.items():
        if len(found) == len(modules.get(elements, ())):
            for (step, weights), module in zip(found, modules[elements], strict=True):
                _name(model, step, weights, module, named)


def _constant(step: Operator, makers: Mapping[int, Operator]) -> Tensor | None:
    """The constant that a layer's weights are made of; None where they are computed."""
    tensor = step.inputs[WEIGHTS[step.name]]
    while tensor is not None and tensor.index in makers and len(makers[tensor.index].present) == 1:
        tensor = makers[tensor.index].present[0]
    return tensor if tensor is not None and tensor.is_constant else None


def _name(model: Model, step: Operator, weights: Tensor, module: str, named: set[int]) -> None:
    """A constant that several layers share is called as the first of them; no two tensors have one name.

    `named` are the constants that have their names already, those of this layer added.
    """
    tensors = model.subgraphs[0].tensors
    taken = {text(tensor.name) for tensor in tensors}
    biases = [each for each in step.inputs[WEIGHTS[step.name] + 1 :] if each is not None and each.is_constant]
    for constant, name in ((weights, module), *((bias, f"{module}/bias") for bias in biases)):
        if constant.index not in named and name not in taken:
            tensors[constant.index].name = name
            named.add(constant.index)
    name = f"{module}/output"
    while name in taken:
        name += "_again"
    tensors[step.outputs[0].index].name = name
