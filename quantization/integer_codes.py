"""The int8 tensors of a quantized graph, with the grids that a TFLite file gives them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..ir.graph import operator

if TYPE_CHECKING:
    from torch.fx import Node

ACTIVATIONS = frozenset({"relu", "relu6", "hardtanh", "clamp"})


@dataclass(frozen=True)
class Codes:
    """The codes that `node` gives, and their grid; the scale is a float32. Activations may have cut the limits."""

    node: Node
    scale: float
    zero_point: int
    lowest: int
    highest: int

    @property
    def placing(self) -> tuple[int, int, int]:
        """The zero point, the lowest and the highest code."""
        return self.zero_point, self.lowest, self.highest

    def has_grid_of(self, other: Codes) -> bool:
        """Whether the same code stands for the same value in both."""
        return (self.scale, self.zero_point) == (other.scale, other.zero_point)


def is_quantized_operator(node: Any, name: str) -> bool:
    """Whether the node is this operator of torch.ops.quantized_decomposed."""
    return getattr(node, "op", "") == "call_function" and str(node.target) == f"quantized_decomposed.{name}.default"


def read(node: Any) -> Codes | None:
    """The codes that the node dequantizes; None where it does something else."""
    return _codes(node.args[0], node) if is_quantized_operator(node, "dequantize_per_tensor") else None


def behind(quantize: Node) -> tuple[Any, Codes]:
    """What computes the values that are quantized, and the grid that they go to, cut by the activations on the way."""
    value: Any = quantize.args[0]
    out = _codes(quantize, quantize)
    while operator(value) in ACTIVATIONS:
        out = _cut(out, *_bounds(value))
        value = value.args[0]
    return value, out


def float32(value: Any) -> float:
    """The number as float32 holds it."""
    import numpy as np

    return float(np.float32(value))


def rounded(value: float) -> int:
    """The nearest integer, halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _codes(node: Any, form: Node) -> Codes:
    scale, zero_point, lowest, highest = (float(each) for each in form.args[1:5])  # type: ignore[arg-type]
    return Codes(node, float32(scale), int(zero_point), int(lowest), int(highest))


def _cut(codes: Codes, low: float, high: float) -> Codes:
    """The grid without what lies outside of [low, high] (CalculateActivationRangeQuantized of kernel_util.cc)."""
    lowest, highest = codes.lowest, codes.highest
    if math.isfinite(low):
        lowest = max(lowest, codes.zero_point + rounded(float32(low / codes.scale)))
    if math.isfinite(high):
        highest = min(highest, codes.zero_point + rounded(float32(high / codes.scale)))
    return replace(codes, lowest=lowest, highest=highest)


def _bounds(activation: Any) -> tuple[float, float]:
    name, given = operator(activation), [*activation.args[1:], None, None]
    if name in ("relu", "relu6"):
        return 0.0, 6.0 if name == "relu6" else math.inf
    low, high = (-1.0, 1.0) if name == "hardtanh" else (-math.inf, math.inf)
    return low if given[0] is None else float(given[0]), high if given[1] is None else float(given[1])
