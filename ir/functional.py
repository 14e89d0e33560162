"""Exported graphs that only compute: every operator makes a new tensor, and a call changes nothing for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .errors import StepError
from .graph import operator, unwarned

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Graph, Node

_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
_COPIES = ("clone", "detach", "alias", "lift_fresh_copy")
"""What hands out its input's values and, where nothing is changed in place, stands for nothing else."""
_OTHER_NAMES = {
    **dict.fromkeys(("swapaxes", "swapdims"), "transpose"),
    **dict.fromkeys(("concat", "concatenate"), "cat"),
    "clip": "clamp",
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "true_divide": "div",
}
"""Operators that only are other names of operators, which rules and runtimes know by one name."""


def functional(program: ExportedProgram) -> ExportedProgram:
    """The program with the same outputs, without in-place operators, dropout, copies, and changes of its own inputs.

    Where some outputs are no tensors (None, numbers), the others come as a tuple. The graph of `program` is used up.
    StepError where dropout stays on in evaluation mode, where answers depend on earlier calls, because a buffer is both
    read and changed, or where there is no tensor among the outputs.
    """
    for node in _named(program.graph, (*_DROPOUTS, *(f"{name}_" for name in _DROPOUTS))):
        _refuse_randomness(node)
        _stand_aside(program.graph, node)
    if _can_be_replaced(program.graph):
        for node in [node for node in program.graph.nodes if _is_in_place(node)]:
            _replace(program.graph, node)
    else:
        with unwarned():
            program = program.run_decompositions({})
        _drop_changes(program)
    for node in _named(program.graph, _COPIES):
        if not node.kwargs.get("memory_format"):
            _stand_aside(program.graph, node)
    for node in _named(program.graph, tuple(_OTHER_NAMES)):
        _name_plainly(node)
    _settle_outputs(program)
    program.graph.lint()
    program.graph_module.recompile()
    return program


def _named(graph: Graph, names: tuple[str, ...]) -> list[Node]:
    return [node for node in graph.nodes if operator(node) in names]


def _refuse_randomness(node: Node) -> None:
    if len(node.args) > 2 and node.args[2]:
        raise StepError(
            f"export: {_line_of(node)}dropout stays on in evaluation mode, so that answers are random;"
            " functional.dropout needs training=self.training"
        )


def _line_of(node: Node) -> str:
    """The line of the user's code that the node was traced from; empty where it is not known."""
    lines = [line.strip() for line in str(node.meta.get("stack_trace", "")).splitlines()]
    places = [index for index, line in enumerate(lines) if line.startswith("File ") and "site-packages" not in line]
    if not places:
        return ""
    file, number, *_ = lines[places[-1]].removeprefix("File ").split(", ")
    code = lines[places[-1] + 1] if places[-1] + 1 < len(lines) else ""
    return f"{file.strip(chr(34))}:{number.removeprefix('line ')} ({code}): "


def _stand_aside(graph: Graph, node: Node) -> None:
    """What read the node reads its input instead."""
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    graph.erase_node(node)


def _name_plainly(node: Node) -> None:
    import torch

    _, packet, overload = str(node.target).split(".")
    plain = getattr(torch.ops.aten, _OTHER_NAMES[packet])
    node.target = getattr(plain, "int" if plain == torch.ops.aten.transpose else overload)
    node._rename(operator(node))


def _is_in_place(node: Node) -> bool:
    return any(argument.alias_info.is_write for argument in _tied_arguments(node))


def _is_view(node: Node) -> bool:
    """Whether what the node hands out may lie in the memory of what it reads, as a view does."""
    return any(not argument.alias_info.is_write for argument in _tied_arguments(node))


def _tied_arguments(node: Node) -> Iterator[Any]:
    """The arguments of an ATen operator that its schema says it changes or hands out again."""
    from torch._ops import OpOverload

    arguments = node.target._schema.arguments if isinstance(node.target, OpOverload) else ()
    return (argument for argument in arguments if argument.alias_info)


def _can_be_replaced(graph: Graph) -> bool:
    """Whether each in-place operator has a functional twin and changes a tensor that nothing else shares memory with.

    Inputs, stored tensors, views and what was viewed are shared.
    """
    for node in graph.nodes:
        if not _is_in_place(node):
            continue
        changed: Any = node.args[0]
        if changed.op != "call_function" or any(map(_is_view, [changed, *changed.users])) or _twin(node) is None:
            return False
    return True


def _twin(node: Node) -> Any:
    """The operator that computes what the in-place one leaves behind (`relu` for `relu_`); None where there is none."""
    import torch

    _, packet, overload = str(node.target).split(".")
    return getattr(getattr(torch.ops.aten, packet.removesuffix("_"), None), overload, None)


def _replace(graph: Graph, node: Node) -> None:
    """A functional node stands for the in-place one, and later readers of what was changed read the result."""
    changed: Any = node.args[0]
    node.target = _twin(node)
    order = {entry: index for index, entry in enumerate(graph.nodes)}
    changed.replace_all_uses_with(node, delete_user_cb=lambda user: order[user] > order[node])
    node._rename(operator(node))


def _drop_changes(program: ExportedProgram) -> None:
    """What a call would have left in inputs and buffers is not computed. StepError where a later call would read it."""
    from torch.export.graph_signature import InputKind, OutputKind

    signature = program.graph_signature
    output = next(node for node in program.graph.nodes if node.op == "output")
    kept = [
        (value, spec)
        for value, spec in zip(output.args[0], signature.output_specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    changed = {spec.target for spec in signature.output_specs if spec.kind is OutputKind.BUFFER_MUTATION}
    output.args = (tuple(value for value, _ in kept),)
    signature.output_specs = [spec for _, spec in kept]
    program.graph.eliminate_dead_code()
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in signature.input_specs:
        if spec.kind is InputKind.BUFFER and spec.target in changed and nodes[spec.arg.name].users:
            raise StepError(
                f"export: each call changes the buffer '{spec.target}' and reads what earlier calls left there, so that"
                " answers depend on them; make it an input and an output of the network"
            )


def _settle_outputs(program: ExportedProgram) -> None:
    """Outputs that no node computes (None, numbers) are gone, and the signature calls the others as the graph does."""
    from torch.fx import Node
    from torch.utils._pytree import tree_structure

    signature, call = program.graph_signature, program.module_call_graph[0].signature
    output = next(node for node in program.graph.nodes if node.op == "output")
    pairs = zip(output.args[0], signature.output_specs, strict=True)
    kept = [(value, spec) for value, spec in pairs if isinstance(value, Node)]
    if not kept:
        raise StepError("export: the network gives no tensor")
    for value, spec in kept:
        spec.arg.name = value.name
    if len(kept) == len(signature.output_specs) or call is None:
        return
    output.args = (tuple(value for value, _ in kept),)
    signature.output_specs = [spec for _, spec in kept]
    call.outputs = [spec.arg for _, spec in kept]
    call.out_spec = tree_structure(tuple(range(len(kept))))
