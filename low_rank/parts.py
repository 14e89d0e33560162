"""The smaller layers with their weights, and how much of the layer they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.factors import AXES, Factors, assemble
from . import cp, svd, tucker

if TYPE_CHECKING:
    from torch import Tensor, nn


def taken_apart(layer: nn.Module, factors: Factors, seed: int = 0) -> nn.Sequential:
    """The layer as a sequence of smaller ones, weights and bias included; `layer` is left as it is."""
    import torch

    sequence = assemble(layer, factors)
    weights = _weights(layer.get_parameter("weight"), factors, seed)
    parts: dict[str, Any] = dict(sequence.named_children())
    for name in (
        weights.keys() - parts.keys() - {"reduce", "core", "expand"}
    ):  # an axis of size one along which nothing happens
        weights["expand"] = weights["expand"] * weights[name].reshape(1, -1)
    with torch.no_grad():
        for name, part in parts.items():
            part.weight.copy_(weights[name].reshape(part.weight.shape))
        if sequence[-1].bias is not None:
            sequence[-1].bias.copy_(layer.get_parameter("bias"))  # type: ignore[operator]
    return sequence


def energy_kept(layer: nn.Module, factors: Factors, seed: int = 0) -> float:
    """1 - |W - W'|^2 / |W|^2, where W' is the weight that the factors make; not below 0."""
    weight = layer.get_parameter("weight").detach().double()
    made = _composed(weight, factors, seed)
    total = float(weight.square().sum())
    return max(0.0, 1 - float((weight - made).square().sum()) / total) if total > 0 else 1.0


def _composed(weight: Tensor, factors: Factors, seed: int) -> Tensor:
    import torch

    if factors.method == "svd":
        left, right = svd.split(weight, factors.ranks[0])
        return (left @ right).reshape(weight.shape)
    if factors.method == "tucker":
        into, core, out = tucker.split(weight, (factors.ranks[0], factors.ranks[1]))
        return torch.einsum("os,srk,ri->oik", out, core.flatten(2), into).reshape(weight.shape)
    return cp.composed(cp.split(weight, factors.ranks[0], seed))


def _weights(weight: Tensor, factors: Factors, seed: int) -> dict[str, Tensor]:
    """Weights by the pieces' names, those of pieces that the layer does not have among them."""
    if factors.method == "svd":
        left, right = svd.split(weight, factors.ranks[0])
        return {"reduce": right, "core": right, "expand": left}
    if factors.method == "tucker":
        into, core, out = tucker.split(weight, (factors.ranks[0], factors.ranks[1]))
        return {"reduce": into, "core": core, "expand": out}
    out, into, *along = cp.split(weight, factors.ranks[0], seed)
    names = AXES[len(along)]
    return {"reduce": into.T, "expand": out, **{name: factor.T for name, factor in zip(names, along, strict=True)}}
