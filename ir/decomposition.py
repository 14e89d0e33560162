"""Operators taken apart into ones that integer kernels exist for; each computes what it did but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .graph import add_tensor, editable, lifted, operator, read_tensor

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

RECURRENT = ("lstm", "gru")
"""Taken apart by torch itself: one step of a recurrent layer after the other, in linear layers, sigmoids and tanhs."""


def decomposed(program: ExportedProgram, names: Iterable[str]) -> ExportedProgram:
    """The program without the operators of these names (ATen's); numbers that tensors meet are constants in it."""
    wanted = frozenset(names)
    found = {name for node in program.graph.nodes if (name := operator(node)) in wanted}
    if found:
        program = program.run_decompositions(_table(found))
    module = editable(program)
    _name_views(module)
    _numbers_to_constants(module)
    return lifted(module, program)


def _table(names: set[str]) -> dict[Any, Callable[..., Any]]:
    import torch
    from torch._decomp import decomposition_table as known

    table: dict[Any, Callable[..., Any]] = {}
    for name in names & set(RECURRENT):
        overload = getattr(torch.ops.aten, name).input
        table[overload] = known[overload]
    if "hardsigmoid" in names:
        table[torch.ops.aten.hardsigmoid.default] = _hardsigmoid
    if "scaled_dot_product_attention" in names:
        table[torch.ops.aten.scaled_dot_product_attention.default] = _attention
    return table


def _hardsigmoid(x: Tensor) -> Tensor:
    """clamp(x + 3, 0, 6) / 6 (https://pytorch.org/docs/stable/generated/torch.nn.Hardsigmoid.html)."""
    import torch

    aten = torch.ops.aten
    scaled: Tensor = aten.mul.Tensor(aten.clamp.default(aten.add.Tensor(x, 3.0), 0.0, 6.0), 1 / 6)
    return scaled


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(q k^T * scale) v (Vaswani et al. 2017); NotImplemented, which leaves it whole, where there is a mask."""
    import torch

    if attn_mask is not None or is_causal or enable_gqa:
        return NotImplemented
    aten = torch.ops.aten
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    scores = aten.mul.Tensor(aten.matmul.default(query, aten.transpose.int(key, -2, -1)), factor)
    mixed: Tensor = aten.matmul.default(aten.softmax.int(scores, -1), value)
    return mixed


def _name_views(module: GraphModule) -> None:
    """A view that torch's decompositions call unsafe, as its input is not used again, is a view."""
    import torch

    for node in module.graph.nodes:
        if node.target is torch.ops.aten._unsafe_view.default:
            node.target = torch.ops.aten.view.default


def _numbers_to_constants(module: GraphModule) -> None:
    """Sums, differences, products and quotients with a number are with a constant tensor."""
    import torch

    aten = torch.ops.aten
    kinds = {aten.add.Tensor: aten.add.Tensor, aten.sub.Tensor: aten.sub.Tensor, aten.mul.Tensor: aten.mul.Tensor}
    kinds[aten.div.Tensor] = aten.mul.Tensor
    for node in list(module.graph.nodes):
        if node.target not in kinds or not _is_number(node):
            continue
        number = 1 / node.args[1] if node.target is aten.div.Tensor else float(node.args[1])
        with module.graph.inserting_before(node):
            constant = read_tensor(module, add_tensor(module, "", f"{node.name}_number", torch.tensor([number])))
        node.target, node.args = kinds[node.target], (node.args[0], constant)


def _is_number(node: Node) -> bool:
    """Whether the second operand is a number that a float tensor with axes meets, without a factor of its own."""
    number = node.args[1]
    value = node.meta["val"]
    is_float = value.is_floating_point() and value.dim() > 0
    return is_float and isinstance(number, int | float) and not node.kwargs and number != 0
