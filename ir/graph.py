"""Helpers on the exported graph: what a node is, where its weights lie, and exporting an edited graph again."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node


def operator(node: Node) -> str:
    """The ATen name without namespace and overload ("conv2d"); "getitem" for a tuple's element; else ""."""
    if node.op != "call_function":
        return ""
    name = str(node.target)
    if name.startswith("aten."):
        return name.split(".")[1]
    return "getitem" if "getitem" in name else ""


def is_float_tensor(node: Any) -> bool:
    """Whether the node's value is one tensor of floating-point numbers."""
    value = getattr(node, "meta", {}).get("val")
    return value is not None and not isinstance(value, list | tuple) and _is_floating(value)


def is_constant(node: Any) -> bool:
    """Whether the node reads a parameter, a buffer or another tensor that is stored with the graph."""
    return getattr(node, "op", "") == "get_attr"


def tensor_of(module: GraphModule, node: Node) -> Tensor:
    """The tensor that a `get_attr` node reads."""
    owner, _, name = str(node.target).rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(owner), name)
    return tensor


def set_tensor(module: GraphModule, name: str, tensor: Tensor) -> None:
    """The stored tensor of that full name is this one, in this module alone: others may read the one before."""
    from torch import nn

    owner, _, last = name.rpartition(".")
    holder = module.get_submodule(owner)
    is_parameter = isinstance(getattr(holder, last), nn.Parameter)
    setattr(holder, last, nn.Parameter(tensor.detach()) if is_parameter else tensor.detach())


def add_tensor(module: GraphModule, beside: str, name: str, tensor: Tensor) -> str:
    """`tensor` is a buffer in the submodule that holds `beside`; returns its full name, made unique by a number."""
    owner = beside.rpartition(".")[0]
    holder = module.get_submodule(owner)
    taken = {key for key, _ in [*holder.named_buffers(recurse=False), *holder.named_parameters(recurse=False)]}
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    holder.register_buffer(unique, tensor)
    return f"{owner}.{unique}" if owner else unique


def read_tensor(module: GraphModule, name: str) -> Node:
    """A new `get_attr` node at the graph's insertion point, with the tensor's value in its metadata."""
    node = module.graph.get_attr(name)
    node.meta["val"] = tensor_of(module, node)
    return node


def module_names(node: Node) -> tuple[str, ...]:
    """The user's modules that the node was traced in, outermost first, as `named_modules` calls them."""
    names = [str(name) for name, _ in node.meta.get("nn_module_stack", {}).values()]
    return tuple(dict.fromkeys(name for name in names if name and not name.startswith("_empty")))


def outputs_of(graph: Any) -> list[Node]:
    """The nodes that the graph returns, in order, repeated where one is returned twice."""
    from torch.fx import Node
    from torch.utils._pytree import tree_leaves

    output = next(node for node in graph.nodes if node.op == "output")
    return [leaf for leaf in tree_leaves(output.args) if isinstance(leaf, Node)]


def editable(program: ExportedProgram) -> GraphModule:
    """A copy of the program's graph, free to be edited, whose attributes are the program's own tensors.

    A tensor is changed by `set_tensor`; one that is written to changes in the program as well.
    """
    module: GraphModule = program.module(check_guards=False)
    module.graph.eliminate_dead_code()
    return module


def lifted(module: GraphModule, program: ExportedProgram) -> ExportedProgram:
    """The edited graph of `editable(program)` as a program that takes and gives what `program` does.

    Nothing is traced again: stored tensors become placeholders, and only values of new nodes are worked out, on fake
    tensors. `module` is used up.
    """
    from torch.export import ExportedProgram
    from torch.export.graph_signature import ExportGraphSignature, OutputKind, OutputSpec, TensorArgument
    from torch.fx import GraphModule
    from torch.fx.graph import CodeGen

    graph = module.graph
    graph.eliminate_dead_code()
    _fill_values(module, program)
    inputs, tensors = _lift_stored(module)
    output = next(node for node in graph.nodes if node.op == "output")
    results = outputs_of(graph)
    output.args = (tuple(results),)
    graph.set_codegen(CodeGen())
    graph.lint()
    returned = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(name=node.name), None) for node in results]
    return ExportedProgram(
        root=GraphModule({}, graph),
        graph=graph,
        graph_signature=ExportGraphSignature(inputs, returned),
        state_dict=tensors,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph[:1],
        example_inputs=program.example_inputs,
        constants={},
    )


def up_to(module: GraphModule, node: Node) -> GraphModule:
    """The part of the module that gives the node's value, from the same inputs; it reads the module's own tensors."""
    from torch.fx import Graph, GraphModule

    graph = Graph()
    copies: dict[Node, Node] = {}
    for each in module.graph.nodes:
        copies[each] = graph.node_copy(each, lambda other: copies[other])
        if each is node:
            break
    graph.output(copies[node])
    graph.eliminate_dead_code()
    return GraphModule(module, graph)


def with_tensors(program: ExportedProgram, tensors: Mapping[str, Tensor]) -> ExportedProgram:
    """The program with copies of these in place of its own stored tensors, by name; `program` is left as it is."""
    module = editable(program)
    for name, tensor in tensors.items():
        set_tensor(module, name, tensor.detach().clone())
    return lifted(module, program)


def _fill_values(module: GraphModule, program: ExportedProgram) -> None:
    """Every node has a fake tensor as its value; new nodes get theirs by running on those of their inputs."""
    import torch
    from torch.utils._pytree import tree_map_only

    fake: Any = next(node.meta["val"].fake_mode for node in user_inputs(program))
    with fake, torch.no_grad():
        for node in module.graph.nodes:
            known = node.meta.get("val")
            if is_constant(node):
                node.meta["val"] = fake.from_tensor(tensor_of(module, node).detach(), static_shapes=True)
            elif node.op == "call_function" and (known is None or type(known) is torch.Tensor):
                arguments, options = tree_map_only(
                    torch.fx.Node, lambda entry: entry.meta["val"], (node.args, node.kwargs)
                )
                node.meta["val"] = node.target(*arguments, **options)


def _lift_stored(module: GraphModule) -> tuple[list[Any], dict[str, Tensor]]:
    """The signatures of all placeholders and the tensors behind those that stand for stored ones, by name."""
    import torch
    from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

    graph = module.graph
    given = [node for node in graph.nodes if node.op == "placeholder"]
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if is_constant(node):
            readers.setdefault(str(node.target), []).append(node)
    specs, tensors = [], {}
    for target, nodes in readers.items():
        tensor = tensors[target] = tensor_of(module, nodes[0])
        with graph.inserting_before(next(iter(graph.nodes))):
            placeholder = graph.placeholder("stored_" + target.replace(".", "_"))
        placeholder.target = placeholder.name  # what the graph made a word, and one of its own, of the target
        placeholder.meta = {"val": nodes[0].meta["val"]}
        for node in nodes:
            node.replace_all_uses_with(placeholder)
            graph.erase_node(node)
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        kind = InputKind.PARAMETER if is_parameter else InputKind.BUFFER
        persistent = None if is_parameter else True
        specs.append(InputSpec(kind, TensorArgument(name=placeholder.name), target, persistent))
    own = [InputSpec(InputKind.USER_INPUT, TensorArgument(name=node.name), None) for node in given]
    return [*reversed(specs), *own], tensors


def export(module: nn.Module, examples: tuple[Tensor, ...], open_batch: bool) -> ExportedProgram:
    """torch.export of the module; with `open_batch` every first axis is dynamic, or torch raises its reason."""
    import torch

    shapes = tuple({0: torch.export.Dim.DYNAMIC} for _ in examples) if open_batch else None
    with torch.no_grad(), unwarned():
        return torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)


@contextmanager
def unwarned() -> Iterator[None]:
    """torch's warnings about its own coming versions, on which no user can act, are not shown."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def has_open_batch(program: ExportedProgram) -> bool:
    """Whether the program takes any number of samples."""
    return any(
        not isinstance(node.meta["val"].shape[0], int) for node in user_inputs(program) if node.meta["val"].dim()
    )


def fixed_batch(program: ExportedProgram) -> int | None:
    """How many samples the program takes at once; None where any number is fine."""
    return None if has_open_batch(program) else sizes(user_inputs(program)[0])[0]


def user_inputs(program: ExportedProgram) -> list[Node]:
    """The placeholders of the model's own inputs, in order."""
    names = set(program.graph_signature.user_inputs)
    return [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]


def sizes(node: Node) -> tuple[int | None, ...]:
    """The node's shape; None for an axis that is open."""
    return tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)


def nodes_in(value: Any) -> Iterable[Node]:
    """Every node in a node's argument: itself, or the elements of a list."""
    from torch.fx import Node

    if isinstance(value, Node):
        return (value,)
    if isinstance(value, list | tuple):
        return tuple(item for item in value if isinstance(item, Node))
    return ()


def _is_floating(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor) and value.is_floating_point()
