"""Where quantization goes: which tensors are held in int8 and which share a scale, from rules and the graph alone.

Convolutions and linear layers are the anchors. Other operators with int8 kernels join where their inputs are in int8
anyway; operators that only move values pass their input's scale on; everything else stays float between two steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.graph import is_constant, is_float_tensor, module_names, nodes_in, operator, outputs_of
from .residuals import residuals
from .rules import FixedGrid, Rules
from .small import why_small

if TYPE_CHECKING:
    from torch.fx import Graph, Node

WEIGHTED = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear")
_TUPLES = ("chunk", "split", "split_with_sizes", "unbind")
KEPT = "the recipe keeps it in float"
LAYOUT = ("contiguous", "clone")
"""What only torch knows of: where a tensor's values lie in memory. They have the input's scale on every target."""


@dataclass(frozen=True)
class Layer:
    """One layer with weights that is computed in int8. `input`: the tensor it reads; `module`: the user's name."""

    node: str
    module: str
    input: str


@dataclass(frozen=True)
class Placement:
    """Where quantization goes in one graph; tensors are named by their nodes."""

    groups: Mapping[str, str]
    """Every tensor held in int8, and the name of the scale that it has; in the graph's order."""
    observed: Mapping[str, str]
    """The tensors that a calibration has to look at, and the scale (or the output) that each one's values count for."""
    computed: frozenset[str]
    """Tensors of `groups` that an int8 kernel, or a same-scale operator on int8 values, produces."""
    consumers: frozenset[str]
    """Nodes that read int8: kernels, and same-scale operators whose output is in int8."""
    layers: tuple[Layer, ...]
    left_float: Mapping[str, str]
    """Layers with weights that stay float: the module's name and the reason."""
    fixed: Mapping[str, FixedGrid]
    """Scales of `groups` that no calibration can change."""
    requantized: Mapping[tuple[str, str], str]
    """(tensor, reader): the scale that the reader needs it in, where that is not the tensor's own."""
    islands: Mapping[str, str]
    """What is computed in float, layers and the recipe's own wishes aside: the node's name and its operator."""


def place(graph: Graph, rules: Rules, keep_float: Iterable[str] = ()) -> Placement:
    """The placement that the rules give for this graph; layers of modules named in `keep_float` stay float."""
    keep = tuple(keep_float)
    left_float: dict[str, str] = {}
    chosen: dict[Node, None] = {}
    for node in graph.nodes:
        if operator(node) not in WEIGHTED:
            continue
        if reason := why_float(node, rules.kernels, keep) or why_small(node, rules):
            left_float[layer_name(node)] = reason
        else:
            chosen[node] = None
    sums = residuals(graph.nodes, chosen, rules.fused_residuals)
    wanted = _wanted(chosen, rules, sums)
    while joiners := [node for node in graph.nodes if node not in chosen and _joins(node, wanted, rules, keep)]:
        chosen.update(dict.fromkeys(joiners))
        wanted = _wanted(chosen, rules, sums)
    if rules.integer_only:
        ends = [node for node in outputs_of(graph) if _is_available(node, wanted, rules, keep)]
        wanted = _wanted(chosen, rules, sums, ends)
    return _placement(graph, rules, chosen, sums, wanted, left_float, keep)


def layer_name(node: Node) -> str:
    """The name of the user's module that the node stands for; the node's own where it was traced in none."""
    names = module_names(node)
    return names[-1] if names else node.name


def matches(names: Iterable[str], pattern: str) -> bool:
    """Whether one of the module names is `pattern` or lies inside it."""
    return any(name == pattern or name.startswith(f"{pattern}.") for name in names)


def tail(node: Node, rules: Rules) -> Node:
    """The node whose value the kernel hands out: itself, or the activation that is fused into it."""
    users = list(node.users)
    if len(users) != 1 or (rules.fused_into and operator(node) not in rules.fused_into):
        return node
    return users[0] if operator(users[0]) in rules.fused_activations and is_float_tensor(users[0]) else node


def source(node: Node, rules: Rules) -> Node | None:
    """The tensor whose values a same-scale operator moves; None where the node is not one."""
    name = operator(node)
    if name == "getitem":
        inner = node.args[0]
        is_moved = operator(inner) in rules.same_scale and operator(inner) in _TUPLES  # type: ignore[arg-type]
        return inner.args[0] if is_moved else None  # type: ignore[union-attr,return-value]
    if name not in (*rules.same_scale, *LAYOUT) or not is_float_tensor(node) or not _only_moves(node):
        return None
    moved = node.args[0]
    return moved if is_float_tensor(moved) and not is_constant(moved) else None  # type: ignore[return-value]


def why_float(node: Node, kernels: tuple[str, ...], keep: tuple[str, ...]) -> str:
    """Why a layer can't be computed with int8 weights by kernels of these names; empty where it can."""
    name = operator(node)
    if name not in kernels:
        return f"the target has no int8 kernel for {name}"
    if any(matches(module_names(node), pattern) for pattern in keep):
        return KEPT
    if not is_constant(node.args[1]):
        return "its weights are computed, not stored"
    if len(node.args) > 2 and node.args[2] is not None and not is_constant(node.args[2]):
        return "its bias is computed, not stored"
    if is_constant(node.args[0]) or not is_float_tensor(node.args[0]):
        return "its input is not a float tensor that depends on the model's input"
    return ""


def _wanted(
    chosen: Iterable[Node], rules: Rules, sums: Mapping[Node, Node], ends: Iterable[Node] = ()
) -> dict[Node, None]:
    """The tensors that must be in int8 for the chosen kernels, and `ends`; same-scale operators want their input so."""
    waiting = [*ends, *sums.values(), *(tensor for node in chosen for tensor in activations(node))]
    waiting += [tail(node, rules) for node in chosen if operator(node) not in rules.float_outputs]
    wanted: dict[Node, None] = {}
    while waiting:
        node = waiting.pop()
        if node in wanted:
            continue
        wanted[node] = None
        moved = source(node, rules)
        if moved is not None:
            waiting.append(moved)
    return wanted


def activations(node: Node) -> list[Node]:
    """The tensors that a kernel reads as activations: weights and biases aside."""
    if operator(node) in WEIGHTED:
        return [node.args[0]]  # type: ignore[list-item]
    return [item for argument in node.args for item in nodes_in(argument)]


def _joins(node: Node, wanted: Mapping[Node, None], rules: Rules, keep: tuple[str, ...]) -> bool:
    """Whether a kernel without weights is computed in int8: its inputs are in int8 anyway, its output is of use."""
    name = operator(node)
    if name not in rules.kernels or name in WEIGHTED or not is_float_tensor(node) or not _fits(node, rules):
        return False
    if any(matches(module_names(node), pattern) for pattern in keep):
        return False
    inputs = activations(node)
    if rules.integer_only:
        return not _is_fused(node, rules)
    if all(user.op == "output" for user in tail(node, rules).users):
        return False
    return all(_is_available(tensor, wanted, rules) for tensor in inputs)


def _is_fused(node: Node, rules: Rules) -> bool:
    """Whether a kernel before it does the node's work."""
    return any(operator(before) in rules.kernels and tail(before, rules) is node for before in nodes_in(node.args[0]))


def _is_available(node: Node | None, wanted: Mapping[Node, None], rules: Rules, keep: tuple[str, ...] = ()) -> bool:
    """Whether the tensor is held in int8, or only moves the values of one that is; nothing in `keep` moves them."""
    while node is not None and node not in wanted:
        is_kept = any(matches(module_names(node), pattern) for pattern in keep)
        node = None if is_kept else source(node, rules)
    return node is not None


def _fits(node: Node, rules: Rules) -> bool:
    """Whether this use of a kernel without weights is one that int8 kernels take: tensors only, no extra factor.

    One operand may be a constant where everything is in integers: it gets a grid of its own.
    """
    name = operator(node)
    if name in ("add", "sub", "mul"):
        constants = sum(is_constant(argument) for argument in node.args[:2])
        plain = all(is_float_tensor(argument) for argument in node.args[:2]) and constants <= int(rules.integer_only)
        return bool(plain and len(node.args) == 2 and node.kwargs.get("alpha", 1) == 1)
    if name == "softmax":
        return node.args[1] in (-1, node.meta["val"].dim() - 1)
    if name == "adaptive_avg_pool2d":
        return all(size == 1 for size in node.args[1])  # type: ignore[union-attr]
    inputs = activations(node)
    return bool(inputs) and all(is_float_tensor(tensor) and not is_constant(tensor) for tensor in inputs)


def _only_moves(node: Node) -> bool:
    """Whether zeros are the only values that a same-scale operator adds (zero lies on every grid)."""
    if operator(node) != "pad":
        return True
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
    return mode != "constant" or not value


def _placement(
    graph: Graph,
    rules: Rules,
    chosen: Mapping[Node, None],
    sums: Mapping[Node, Node],
    wanted: Mapping[Node, None],
    left_float: Mapping[str, str],
    keep: tuple[str, ...],
) -> Placement:
    groups: dict[str, str] = {}
    observed: dict[str, str] = {}
    fixed: dict[str, FixedGrid] = {}
    consumers = {node.name for node in (*chosen, *sums)}
    computed = {tail(node, rules).name for node in (*chosen, *sums)}
    for node in graph.nodes:
        if node not in wanted:
            continue
        moved = source(node, rules)
        if moved is None:
            groups[node.name] = observed[node.name] = node.name
            if (grid := rules.fixed(operator(node))) and node in chosen:
                fixed[node.name] = grid
            continue
        groups[node.name] = groups[moved.name]
        computed.add(node.name)
        consumers.update((node.name, *_through_tuple(node)))
    shared = [node for node in chosen if operator(node) in rules.shared_scale]
    groups = _joined(groups, shared, fixed)
    observed = {name: groups[name] for name in observed}
    observed.update(
        {node.name: node.name for node in outputs_of(graph) if node.name not in groups and is_float_tensor(node)}
    )
    layers = tuple(
        Layer(node.name, layer_name(node), activations(node)[0].name) for node in chosen if operator(node) in WEIGHTED
    )
    requantized = {
        (tensor.name, node.name): groups[node.name]
        for node in shared
        for tensor in activations(node)
        if groups[tensor.name] != groups[node.name]
    }
    inside = {*computed, *consumers}
    unmoved = [node for node in graph.nodes if operator(node) not in rules.same_scale]
    islands = {node.name: operator(node) for node in unmoved if _is_island(node, inside, keep)}
    return Placement(
        groups=groups,
        observed=observed,
        computed=frozenset(computed),
        consumers=frozenset(consumers),
        layers=layers,
        left_float=dict(left_float),
        fixed=fixed,
        requantized=requantized,
        islands=islands,
    )


def _joined(groups: Mapping[str, str], shared: Iterable[Node], fixed: Mapping[str, FixedGrid]) -> dict[str, str]:
    """The groups, where all tensors of a kernel with one scale are in one, but for those whose scale is fixed."""
    leader: dict[str, str] = {}

    def led(name: str) -> str:
        while name in leader:
            name = leader[name]
        return name

    for node in shared:
        first, *others = dict.fromkeys(
            led(groups[tensor.name]) for tensor in (*activations(node), node) if groups[tensor.name] not in fixed
        )
        leader.update(dict.fromkeys(others, first))
    return {name: led(group) for name, group in groups.items()}


def _is_island(node: Node, inside: set[str], keep: tuple[str, ...]) -> bool:
    """Whether the node computes in float, from what depends on the model's input, and the recipe didn't ask for it."""
    if node.op != "call_function" or node.name in inside or not is_float_tensor(node):
        return False
    if operator(node) in (*WEIGHTED, *LAYOUT, "getitem") or any(matches(module_names(node), name) for name in keep):
        return False
    return any(not is_constant(tensor) for argument in node.args for tensor in nodes_in(argument))


def _through_tuple(node: Node) -> list[str]:
    inner: Any = node.args[0]
    return [inner.name] if operator(node) == "getitem" else []
