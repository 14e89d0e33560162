"""Layers that are too small for int8 kernels, by what the profile says of its runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.graph import operator
from .rules import Rules

if TYPE_CHECKING:
    from torch.fx import Node


def why_small(node: Node, rules: Rules) -> str:
    """Why a layer's product is too small for int8 kernels; empty where it is large enough, or no plain matrix product.

    A convolution of one position by one is a product of its input channels.
    """
    inner, weights = (argument.meta["val"].shape for argument in node.args[:2])  # type: ignore[union-attr]
    if operator(node) == "linear" and min(weights) < rules.least_features:
        return (
            f"it has {weights[1]} inputs and {weights[0]} outputs, and with fewer than {rules.least_features} int8 is"
            " not worth it"
        )
    is_one = operator(node) != "linear" and {*inner[2:], *weights[2:]} == {1} and inner[1] == weights[1]
    if is_one and weights[1] < rules.least_point_inputs:
        least = rules.least_point_inputs
        return f"it has {weights[1]} inputs at one position, and with fewer than {least} the kernel is a float one"
    return ""
