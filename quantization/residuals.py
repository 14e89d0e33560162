"""Sums that a layer's kernel takes in: which they are, and which of their operands is read in int8."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ..ir.graph import is_constant, is_float_tensor, operator

if TYPE_CHECKING:
    from torch.fx import Node


def residuals(nodes: Iterable[Node], layers: Collection[Node], kinds: Collection[str]) -> Mapping[Node, Node]:
    """The sums of `kinds` that one of `layers` takes in, and each one's other operand.

    The layer's own value stays in its accumulators, so nothing else may read it, and the kernel adds element by
    element: both operands have the sum's shape. Of two layers the later one takes the sum: the other's value is there
    by then (TensorRT's Layer Fusion Catalog, "Convolution and ElementWise Operation").
    """
    found: dict[Node, Node] = {}
    place: dict[Node, int] = {}
    for number, node in enumerate(nodes):
        place[node] = number
        if operator(node) not in kinds or not _is_plain(node):
            continue
        operands: tuple[Node, Node] = node.args  # type: ignore[assignment]
        able = [operand for operand in operands if operand in layers and len(operand.users) == 1]
        if able:
            last = max(able, key=lambda operand: place[operand])
            found[node] = operands[1] if last is operands[0] else operands[0]
    return found


def _is_plain(node: Node) -> bool:
    """Whether the node is a sum of two different tensors that both have its shape, without a factor."""
    if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1 or node.args[0] is node.args[1]:
        return False
    shape = node.meta["val"].shape
    return all(
        is_float_tensor(operand) and not is_constant(operand) and operand.meta["val"].shape == shape  # type: ignore[union-attr]
        for operand in node.args
    )
