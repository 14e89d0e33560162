"""What an exported graph computes of stored tensors alone is stored instead: the same for every sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .graph import add_tensor, editable, is_constant, lifted, operator, read_tensor, tensor_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

_LARGEST = 1 << 22
"""A tensor of more elements than this is computed each time: a table of positions is stored, a huge mask is not."""


def with_constants_folded(program: ExportedProgram) -> ExportedProgram:
    """The same function; weights, biases and tables that were computed of others (Swin's position bias) are stored."""
    module = editable(program)
    values = _constant_values(module)
    found = [node for node in values if _is_worth_storing(node, values)]
    if not found:
        return program
    for node in found:
        with module.graph.inserting_before(node):
            stored = read_tensor(module, add_tensor(module, "", "constant", values[node]))
        node.replace_all_uses_with(stored)
    return lifted(module, program)


def _constant_values(module: GraphModule) -> dict[Node, Any]:
    """The values of all nodes that no input of the model goes into."""
    import torch
    from torch.utils._pytree import tree_map_only

    values: dict[Node, Any] = {}
    with torch.no_grad():
        for node in module.graph.nodes:
            if is_constant(node):
                values[node] = tensor_of(module, node).detach()
            elif operator(node) and all(source in values for source in node.all_input_nodes):
                arguments, options = tree_map_only(torch.fx.Node, values.__getitem__, (node.args, node.kwargs))
                values[node] = node.target(*arguments, **options)
    return values


def _is_worth_storing(node: Node, values: dict[Node, Any]) -> bool:
    """Whether a tensor is computed here for the last time before something that depends on the model's input."""
    import torch

    value: Tensor | Any = values[node]
    if is_constant(node) or not node.all_input_nodes or not isinstance(value, torch.Tensor):
        return False
    return value.numel() <= _LARGEST and any(user not in values for user in node.users)
