"""Weights and biases of a graph's layers as integers behind dequantize nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..ir.graph import add_tensor, operator, read_tensor, tensor_of
from .grids import SMALLEST_SCALE, integers, weight_scales

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule, Node


class WeightStore:
    """Puts integers in place of a graph's weights; a weight that several layers share is stored once.

    `granularity` is per-channel or per-tensor; layers of the kinds in `per_tensor`, and weights named in `shared`, have
    one scale in any case: equal weights are equal integers. Weights named in `trained` have the scales (C,) given
    there, unless those are too small for a bias.
    """

    def __init__(
        self,
        module: GraphModule,
        bits: int,
        granularity: str,
        per_tensor: Iterable[str],
        trained: Mapping[str, Sequence[float]] | None = None,
        shared: Collection[str] = (),
        *,
        power_of_two: bool = False,
    ) -> None:
        self._module, self._limit, self._granularity = module, 2 ** (bits - 1) - 1, granularity
        self._per_tensor, self._trained, self._shared = frozenset(per_tensor), trained or {}, shared
        self._power_of_two = power_of_two
        self._stored: dict[str, tuple[str, str, str]] = {}

    def weight(self, node: Node, floor: Tensor) -> tuple[Node, Tensor]:
        """The layer's dequantized weights, and their scale for each channel, never below `floor` (C,).

        The graph must be open at the place where the node shall stand.
        """
        import torch

        axis, name = channel_axis(node), str(node.args[1].target)  # type: ignore[union-attr]
        if name not in self._stored:
            integers, scales = self.integers(node, floor)
            self._stored[name] = self._store(name, "weight", integers.to(torch.int8), scales)
        stored = self._stored[name]
        return self._dequantize(stored, axis, max(self._limit, 1), torch.int8), self._module.get_buffer(stored[1])

    def integers(self, node: Node, floor: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's weights as whole numbers, held as floats, and the scale (C,) of each channel."""
        weight = tensor_of(self._module, node.args[1]).detach()  # type: ignore[arg-type]
        scales = self.scales(node, floor)
        along = [-1 if index == channel_axis(node) else 1 for index in range(weight.dim())]
        return integers(weight / scales.reshape(along), self._limit), scales

    def scales(self, node: Node, floor: Tensor) -> Tensor:
        """The scale (C,) of each channel of the layer's weights, never below `floor` (C,)."""
        import torch

        name, kind = str(node.args[1].target), operator(node)  # type: ignore[union-attr]
        is_single = kind in self._per_tensor or name in self._shared
        granularity = "per-tensor" if is_single else self._granularity
        if name not in self._trained:
            weight = tensor_of(self._module, node.args[1]).detach().transpose(0, channel_axis(node))  # type: ignore[arg-type]
            return weight_scales(weight, self._limit, granularity, floor, power_of_two=self._power_of_two)
        scales = torch.maximum(torch.tensor(self._trained[name]), floor)
        return scales.max().expand_as(scales).clone() if granularity == "per-tensor" else scales

    def bias(self, node: Node, scales: Tensor, step: float) -> Node:
        """The layer's dequantized int32 bias, on the grid input step times weight scale.

        Groups of a transposed convolution share the scales, so that those count for one bias of each group.
        """
        import torch

        bias: Any = node.args[2]
        exact = tensor_of(self._module, bias).detach().double()
        limit = 2**31 - 1
        grid = (scales.double() * step).float().clamp(min=SMALLEST_SCALE).repeat(len(exact) // len(scales))
        values = (exact / grid.double()).round().clamp(-limit, limit).to(torch.int32)
        return self._dequantize(self._store(str(bias.target), "bias", values, grid), 0, limit, torch.int32)

    def _store(self, beside: str, role: str, values: Tensor, scales: Tensor) -> tuple[str, str, str]:
        import torch

        zeros = torch.zeros(len(scales), dtype=torch.int64)
        return (
            add_tensor(self._module, beside, f"quantized_{role}", values),
            add_tensor(self._module, beside, f"{role}_scale", scales),
            add_tensor(self._module, beside, f"{role}_zero_point", zeros),
        )

    def _dequantize(self, stored: tuple[str, str, str], axis: int, limit: int, dtype: Any) -> Node:
        import torch

        values, scales, zeros = (read_tensor(self._module, name) for name in stored)
        dequantize = torch.ops.quantized_decomposed.dequantize_per_channel.default
        return self._module.graph.call_function(dequantize, (values, scales, zeros, axis, -limit, limit, dtype))


def channel_axis(node: Node) -> int:
    """The axis of a layer's weights that counts its output channels, those of one group where it is transposed."""
    return 1 if "transpose" in operator(node) else 0
