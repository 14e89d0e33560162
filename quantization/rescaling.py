"""Channels whose scale can move from one layer into the next: the network computes the same, on friendlier ranges.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721,
section 4.1, for layers with at most a positively homogeneous activation between them; Xiao et al. 2022, "SmoothQuant",
arXiv:2211.10438, section 4, for a normalization and the linear layers behind it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.graph import is_constant, operator, set_tensor, tensor_of
from .placement import LAYOUT

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node

_LAYERS = ("conv1d", "conv2d", "conv3d", "linear")
_ELEMENTS = ("relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "dropout", *LAYOUT)
"""f(s x) = s f(x) for every s > 0, whatever the axis."""
_POOLS = tuple(f"{kind}_pool{axes}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for axes in (1, 2, 3))
_FLATTEN = ("flatten", "view", "reshape", "_unsafe_view")


@dataclass(frozen=True)
class Pair:
    """`first` hands its channels to `second` alone; `repeats` columns of a linear `second` stand for each of them."""

    first: Node
    second: Node
    repeats: int = 1


@dataclass(frozen=True)
class Norm:
    """A layer normalization with weights and the linear layers that are all that reads it."""

    norm: Node
    readers: tuple[Node, ...]


def pairs(module: GraphModule) -> tuple[list[Pair], dict[str, int]]:
    """The pairs of layers between which scales can move, in order, and how often which operator stands in the way."""
    uses, found, stops = _uses(module), [], Counter[str]()
    for node in module.graph.nodes:
        if not _is_own(node, uses):
            continue
        end, repeats = _reader(node, operator(node) == "linear")
        if end is None:
            continue
        if _is_own(end, uses) and _columns(module, end) == _rows(module, node) * repeats:
            found.append(Pair(node, end, repeats))
        elif operator(end) not in _LAYERS:
            stops[operator(end)] += 1
    return found, dict(stops)


def norms(module: GraphModule) -> list[Norm]:
    """The layer normalizations whose scale can move into the linear layers behind them."""
    uses, found = _uses(module), []
    for node in module.graph.nodes:
        stored = [entry for entry in node.args[2:4] if is_constant(entry)]
        if operator(node) != "layer_norm" or not stored or any(uses[str(entry.target)] > 1 for entry in stored):
            continue
        readers = _all_readers(node)
        if readers and all(operator(each) == "linear" and _is_own(each, uses) for each in readers):
            found.append(Norm(node, tuple(readers)))
    return found


def equalize(module: GraphModule, pair: Pair) -> float:
    """Each channel has the same weight range in both layers; the largest factor that was moved, at least 1.

    With ranges r1 of the first layer's row and r2 of the second one's column, the first is divided by sqrt(r1 / r2)
    and the second multiplied by it (equation 11). Channels without weights on one side stay as they are.
    """
    import torch

    first = tensor_of(module, pair.first.args[1]).detach()  # type: ignore[arg-type]
    rows = first.abs().flatten(1).amax(1)
    columns = column_ranges(module, pair.second).reshape(len(rows), pair.repeats).amax(1)
    factors = torch.where((rows > 0) & (columns > 0), (rows / columns).sqrt(), torch.ones_like(rows))
    factors = torch.where(factors.isfinite() & (factors > 0), factors, torch.ones_like(factors))
    _divide_rows(module, pair.first, factors)
    multiply_columns(module, pair.second, factors.repeat_interleave(pair.repeats))
    return float(torch.maximum(factors, 1 / factors).max())


def smooth(module: GraphModule, norm: Norm, largest: Tensor, strength: float) -> None:
    """Channel j of the normalization is divided by max|x_j|^strength / max|w_j|^(1 - strength), the weights multiplied.

    `largest` (C,) is the largest magnitude of each channel behind the normalization (equation 4).
    """
    import torch

    columns = torch.stack([column_ranges(module, reader) for reader in norm.readers]).amax(0)
    factors = largest**strength / columns ** (1 - strength)
    factors = torch.where(factors.isfinite() & (factors > 0), factors, torch.ones_like(factors))
    for stored in (entry for entry in norm.norm.args[2:4] if is_constant(entry)):
        _scale(module, stored, 1 / factors)
    for reader in norm.readers:
        multiply_columns(module, reader, factors)


def column_ranges(module: GraphModule, layer: Node) -> Tensor:
    """(inputs,): the largest magnitude of the weights that each input channel of the layer is multiplied by."""
    weight = tensor_of(module, layer.args[1]).detach()  # type: ignore[arg-type]
    return _grouped(weight, _groups(layer)).abs().amax(1).flatten(0, 1).flatten(1).amax(1)


def multiply_columns(module: GraphModule, layer: Node, factors: Tensor) -> None:
    """What the layer multiplies its input channels by grows by these factors (inputs,)."""
    stored: Any = layer.args[1]
    tensor, groups = tensor_of(module, stored), _groups(layer)
    weight = _grouped(tensor, groups)
    along = factors.reshape(groups, 1, -1, *[1] * (weight.dim() - 3))
    set_tensor(module, str(stored.target), (weight * along).reshape(tensor.shape))


def _divide_rows(module: GraphModule, layer: Node, factors: Tensor) -> None:
    _scale(module, layer.args[1], 1 / factors)
    if len(layer.args) > 2 and layer.args[2] is not None:
        _scale(module, layer.args[2], 1 / factors)


def _scale(module: GraphModule, stored: Any, factors: Tensor) -> None:
    """The rows of the stored tensor grow by these factors."""
    tensor = tensor_of(module, stored)
    set_tensor(module, str(stored.target), tensor * factors.reshape(-1, *[1] * (tensor.dim() - 1)))


def _grouped(weight: Tensor, groups: int) -> Tensor:
    """(groups, outputs of a group, inputs of a group, kernel...)."""
    return weight.reshape(groups, -1, *weight.shape[1:], *[1] * (weight.dim() == 2))


def _groups(layer: Node) -> int:
    groups: Any = layer.args[6] if operator(layer) != "linear" and len(layer.args) > 6 else 1
    return int(groups)


def _rows(module: GraphModule, layer: Node) -> int:
    return len(tensor_of(module, layer.args[1]))  # type: ignore[arg-type]


def _columns(module: GraphModule, layer: Node) -> int:
    return int(tensor_of(module, layer.args[1]).shape[1]) * _groups(layer)  # type: ignore[arg-type]


def _uses(module: GraphModule) -> Counter[str]:
    """How many nodes read each stored tensor."""
    stored = [node for node in module.graph.nodes if is_constant(node)]
    uses = Counter[str]()
    for node in stored:
        uses[str(node.target)] += len(node.users)
    return uses


def _is_own(node: Node, uses: Counter[str]) -> bool:
    """Whether the node is a layer whose weights and bias nobody else reads."""
    if operator(node) not in _LAYERS:
        return False
    stored = [entry for entry in node.args[1:3] if entry is not None]
    return all(is_constant(entry) and uses[str(entry.target)] == 1 for entry in stored)  # type: ignore[union-attr]


def _reader(node: Node, is_linear: bool) -> tuple[Node | None, int]:
    """The first node behind that scales can't pass, where there is only one; and the columns that a channel has there.

    A channel is an element of axis 1, or of the last one where the first layer is linear.
    """
    repeats = 1
    while len(node.users) == 1:
        before, (node,) = node, node.users
        kind = operator(node)
        if node.args and node.args[0] is not before:
            return None, repeats
        if kind in _ELEMENTS and (kind != "prelu" or not is_linear):
            continue
        if not is_linear and (kind in _POOLS or _is_mean_over_positions(node)):
            continue
        if not is_linear and kind in _FLATTEN and (columns := _flattened(before, node)):
            repeats *= columns
            continue
        return (node if kind else None), repeats
    return None, repeats


def _is_mean_over_positions(node: Node) -> bool:
    if operator(node) != "mean" or len(node.args) < 2 or not isinstance(node.args[1], list | tuple):
        return False
    axes = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return all(isinstance(axis, int) and axis % axes > 1 for axis in node.args[1])


def _flattened(before: Node, node: Node) -> int:
    """How many columns a channel has behind a flattening of all but the first axis; 0 where it is no such thing."""
    given, made = before.meta["val"].shape, node.meta["val"].shape
    if len(given) < 3 or len(made) != 2 or not all(isinstance(size, int) for size in (*given[1:], made[1])):
        return 0
    positions = 1
    for size in given[2:]:
        positions *= size
    return positions if made[1] == given[1] * positions else 0


def _all_readers(node: Node) -> list[Node]:
    """All that read the node's values, seen through what only lays them out."""
    found = []
    for user in node.users:
        found.extend(_all_readers(user) if operator(user) in (*LAYOUT, "dropout") else [user])
    return found
