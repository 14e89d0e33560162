"""What x86 kernels without VNNI make of products of uint8 and int8: sums of two saturate at sixteen bits.

VPMADDUBSW multiplies neighbouring uint8 activations and int8 weights and adds two products in int16, saturating (Intel
64 and IA-32 Architectures Software Developer's Manual, vol. 2). onnxruntime's AVX2 kernels use it, so that weights of
eight bits give other answers there than on a CPU with VNNI; weights of seven bits can't reach the limit. Neighbours
are what lies side by side in memory: input features, and for convolutions, which run with channels last, the channels
of one position after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..ir.graph import editable, operator, tensor_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.fx import GraphModule, Node

    from ..ir.state import ModelState

LOWEST, HIGHEST = -(2**15), 2**15 - 1
LARGEST_ACTIVATION = 255
_AT_ONCE = 2**24
"""Values of a product that are held at once."""


def pairs_that_can_saturate(weights: np.ndarray) -> int:
    """How many neighbouring pairs of the integers (outputs, inputs) can exceed sixteen bits, with the right inputs."""
    import numpy as np

    wide = weights.astype(np.int32)
    if wide.shape[1] % 2:
        wide = np.pad(wide, ((0, 0), (0, 1)))
    pairs = wide.reshape(len(wide), -1, 2)
    highest = LARGEST_ACTIVATION * np.maximum(pairs, 0).sum(-1)
    lowest = LARGEST_ACTIVATION * np.minimum(pairs, 0).sum(-1)
    return int(((highest > HIGHEST) | (lowest < LOWEST)).sum())


def saturating_product(values: Tensor, weights: Tensor) -> Tensor:
    """(N, outputs): the saturated sums of values (N, inputs) in 0 to 255 times integers (outputs, inputs)."""
    import torch

    if values.shape[1] % 2:
        values, weights = (torch.nn.functional.pad(each, (0, 1)) for each in (values, weights))
    left, right = values[:, 0::2], values[:, 1::2]
    found = torch.empty(len(values), len(weights))
    rows = max(1, _AT_ONCE // left.shape[1])
    for start in range(0, len(values), rows):
        some = slice(start, start + rows)
        for output, row in enumerate(weights):
            sums = (left[some] * row[0::2] + right[some] * row[1::2]).clamp_(LOWEST, HIGHEST)
            found[some, output] = sums.sum(1)
    return found


def saturating(state: ModelState) -> Any:
    """A function that computes what the quantized state computes on a CPU whose kernels saturate.

    Layers with integer weights and uint8 inputs saturate, but for convolutions in groups, whose kernels widen first.
    """
    import torch

    module = editable(state.exported_program())

    class Interpreter(torch.fx.Interpreter):
        def run_node(self, n: Node) -> Any:
            if operator(n) in ("conv2d", "linear") and (parts := _parts(module, n)) is not None:
                arguments, _ = self.fetch_args_kwargs_from_env(n)
                return _saturated(n, parts, *arguments)
            return super().run_node(n)

    def run(*inputs: Tensor) -> Any:
        with torch.no_grad():
            return Interpreter(module).run(*inputs)

    return run


def _parts(module: GraphModule, node: Node) -> tuple[Tensor, Tensor, float, int] | None:
    """The layer's integers and their scales, and scale and zero point of its input; None where it can't saturate."""
    given, weight = node.args[:2]
    groups: Any = node.args[6] if operator(node) == "conv2d" and len(node.args) > 6 else 1
    if "dequantize_per_channel" not in str(weight.target) or groups != 1:  # type: ignore[union-attr]
        return None
    grid: Any = given
    while "dequantize_per_tensor" not in str(grid.target):
        if operator(grid) not in ("view", "reshape", "flatten", "clone", "contiguous", "transpose", "permute"):
            return None
        grid = grid.args[0]
    stored: Any = weight
    integers, scales = (tensor_of(module, each).detach().float() for each in stored.args[:2])
    _, scale, zero_point, lowest, *_ = grid.args
    return (integers, scales, scale, zero_point) if lowest == 0 else None


def _saturated(
    node: Node, parts: tuple[Tensor, Tensor, float, int], given: Tensor, weight: Tensor, *rest: Any
) -> Tensor:
    """The layer's output (N, outputs, ...), from its dequantized input."""
    import torch

    integers, scales, scale, zero_point = parts
    bias = rest[0] if rest else None
    values = (given / scale).round() + zero_point
    if operator(node) == "linear":
        rows, flat = values.reshape(-1, values.shape[-1]), integers
        shape = given.shape[:-1]
    else:
        stride, padding, dilation = (tuple(each) for each in (*rest[1:4], [1, 1], [0, 0], [1, 1])[:3])
        size = integers.shape[2:]
        up, left = padding
        values = torch.nn.functional.pad(values, (left, left, up, up), value=zero_point)
        columns = torch.nn.functional.unfold(values, size, dilation=dilation, stride=stride)
        count, channels = len(given), given.shape[1]
        columns = columns.reshape(count, channels, -1, columns.shape[-1]).permute(0, 3, 2, 1)
        rows = columns.reshape(-1, integers[0].numel())
        flat = integers.permute(0, 2, 3, 1).reshape(len(integers), -1)
        heights = (values.shape[2] - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
        shape = torch.Size((count, heights, columns.shape[1] // heights))
    sums = saturating_product(rows, flat) - zero_point * flat.sum(1)
    outputs = (sums * scales * scale + (0 if bias is None else bias)).reshape(*shape, len(flat))
    return outputs if operator(node) == "linear" else outputs.permute(0, 3, 1, 2)
