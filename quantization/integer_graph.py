"""The quantized program as TFLite's own kernels compute it: every operator that has an integer form in that form.

Between its dequantize and quantize nodes the program computes in float and rounds once, as XNNPACK does. The kernels of
tflite-runtime 2.14 sum integers and multiply them in fixed point (fixed_point.py). What has no form of its own here
stays as it is: what only moves values, and what the kernels look up in tables that were computed in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..ir.graph import add_tensor, editable, operator, read_tensor, sizes, tensor_of
from ..ir.state import register_quantized_operators
from . import integer_sums
from .fixed_point import Multiplier, Ties, multiplier_of
from .integer_codes import Codes, behind, float32, is_quantized_operator, read, rounded

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule, Node

VECTOR_ROWS, VECTOR_DEPTH = 4, 8
"""The kernel for a matrix and one vector takes none with fewer rows or columns (cpu_backend_gemm_custom_gemv.h)."""
_RESHAPES = frozenset({"flatten", "view", "reshape", "squeeze"})
_UNKNOWN = frozenset({"hardswish"})
"""What the kernels compute in integers of their own, which stand here as in the program: a step off now and then."""


class Kernels(Enum):
    """Whose kernels: an interpreter's for a kernels. They differ in where they put halves below zero.

    Seen, tensor by tensor, on x86-64 with AVX2 and on aarch64 without dot products and with them. On x86-64 without
    AVX2 tflite-runtime takes products that round once, which none of these are.
    """

    OLD_X86 = "tflite-runtime-x86_64"
    OLD_ARM = "tflite-runtime-aarch64"
    NEW_X86 = "ai-edge-litert-x86_64"
    """ai-edge-litert's own, without XNNPACK."""

    def product_ties(self, rows: int, depth: int, columns: int) -> Ties:
        """Of a product of a matrix (rows, depth) and another (depth, columns)."""
        is_vector = columns == 1 and rows >= VECTOR_ROWS and depth >= VECTOR_DEPTH
        return Ties.AWAY if self is Kernels.OLD_ARM and not is_vector else Ties.UP

    @property
    def has_vectors(self) -> bool:
        """Whether depthwise convolutions and means over images are computed by vector instructions."""
        return self is not Kernels.OLD_X86

    @property
    def depthwise_ties(self) -> Ties:
        return Ties.UP if self.has_vectors else Ties.AWAY


def is_to_the_bit(program: ExportedProgram) -> bool:
    """Whether of every operator of the program it is known what the kernels make of it; of int16 none is."""
    import torch

    return not any(operator(node) in _UNKNOWN or torch.int16 in node.args for node in program.graph.nodes)


def with_integer_kernels(program: ExportedProgram, kernels: Kernels) -> GraphModule:
    """The program, to be called as before, with the kernels' integers in the place of floats."""
    register_quantized_operators()
    module = editable(program)
    rewriting = _Rewriting(module, kernels)
    for node in list(module.graph.nodes):
        if not is_quantized_operator(node, "quantize_per_tensor"):
            continue
        kernel, out = behind(node)
        with module.graph.inserting_before(node):
            codes = _form_of(kernel)(rewriting, kernel, out)
        if codes is not None:
            node.replace_all_uses_with(codes)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


@dataclass(frozen=True)
class _Rewriting:
    """The graph that is rewritten, at the place where new nodes go."""

    module: GraphModule
    kernels: Kernels

    def call(self, function: Any, *arguments: Any) -> Node:
        return self.module.graph.call_function(function, arguments)

    def stored(self, beside: Any, name: str, tensor: Tensor) -> Node:
        return read_tensor(self.module, add_tensor(self.module, str(beside.target), name, tensor))

    def centred(self, codes: Codes) -> Node:
        return self.call(integer_sums.centred, codes.node, codes.zero_point)

    def rescaled(self, sums: Node, real: float, out: Codes, ties: Ties) -> Node:
        return self.call(integer_sums.rescaled, sums, *_pair(real), ties.value, out.placing)


_Form = Callable[[_Rewriting, Any, Codes], "Node | None"]
"""Codes for what a node computes; None where this use of it has no form."""


def _weighted(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A layer with weights, a multiplier for each channel (conv.cc, depthwise_conv.cc, fully_connected.cc)."""
    data, (weight, bias) = read(node.args[0]), (*node.args[1:3], None)[:2]
    stored = [each for each in (weight, bias) if each is not None]
    if data is None or not all(is_quantized_operator(each, "dequantize_per_channel") for each in stored):
        return None
    exact = [tensor_of(rewriting.module, each.args[0]).double() for each in stored]
    operands = [rewriting.stored(each.args[0], "exact", tensor) for each, tensor in zip(stored, exact, strict=True)]
    rest = node.args[1 + len(stored) :] if bias is not None else (None, *node.args[3:])
    sums = rewriting.call(node.target, rewriting.centred(data), *operands, *rest)
    scales = [float(each) for each in tensor_of(rewriting.module, weight.args[1])]
    table = _table(data.scale, scales, out.scale, node)
    numbers = [rewriting.stored(weight.args[0], "multiplier", each) for each in table]
    ties = _weighted_ties(rewriting.kernels, node, exact[0])
    return rewriting.call(integer_sums.rescaled, sums, *numbers, ties.value, out.placing)


def _table(given: float, weights: list[float], out: float, node: Any) -> tuple[Tensor, Tensor]:
    """Each channel's multiplier and shift; a dense layer with one scale in all multiplies the scales in float32."""
    import torch

    is_linear = operator(node) == "linear"
    products = [given * each for each in weights]
    if is_linear and len(set(weights)) == 1:
        products = [float32(each) for each in products]
    shape = [-1] if is_linear else [-1, *[1] * (node.meta["val"].dim() - 2)]
    integers, shifts = zip(*(_pair(each / out) for each in products), strict=True)
    return torch.tensor(integers).reshape(shape), torch.tensor(shifts).reshape(shape)


def _weighted_ties(kernels: Kernels, node: Any, weight: Tensor) -> Ties:
    """A depthwise convolution has a kernel of its own, one in groups the plain one, all others are matrix products."""
    shape, inputs = _sizes(node), _sizes(node.args[0])
    if operator(node) == "linear":
        return kernels.product_ties(len(weight), weight.shape[1], math.prod(shape[:-1]))
    groups = (*node.args[6:7], 1)[0]
    if groups > 1:
        return kernels.depthwise_ties if groups == inputs[1] else Ties.AWAY
    return kernels.product_ties(len(weight), weight[0].numel(), math.prod(shape) // shape[1])


def _product(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A product of two tensors, of matrices or element by element (batch_matmul.cc, mul.cc)."""
    left, right = map(read, node.args[:2])
    if left is None or right is None:
        return None
    products = rewriting.call(node.target, rewriting.centred(left), rewriting.centred(right))
    scale = float32(left.scale * right.scale)
    if operator(node) == "mul":
        return rewriting.rescaled(products, float32(scale / out.scale), out, Ties.AWAY)
    rows, depth = _sizes(node.args[1])[-1], _sizes(node.args[1])[-2]
    ties = rewriting.kernels.product_ties(rows, depth, _sizes(node)[-2])
    return rewriting.rescaled(products, scale / out.scale, out, ties)


def _sum(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A sum or a difference of two tensors, on a grid of half the coarser one's scale (add.cc, sub.cc)."""
    left, right = map(read, node.args[:2])
    if left is None or right is None:
        return None
    twice = 2 * max(left.scale, right.scale)
    terms = [
        rewriting.call(integer_sums.term, each.node, each.zero_point, *_pair(each.scale / twice))
        for each in (left, right)
    ]
    sums = rewriting.call(node.target, *terms)
    return rewriting.rescaled(sums, twice / (2**integer_sums.ADDEND_BITS * out.scale), out, Ties.AWAY)


def _mean(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A mean over axes (reduce.cc); the count of values is divided out of the multiplier."""
    import torch

    data, shape = read(node.args[0]), _sizes(node.args[0])
    is_pooling = operator(node) == "adaptive_avg_pool2d"
    axes, keeps = ([-2, -1], True) if is_pooling else (*node.args[1:3], None, False)[:2]
    if data is None or not axes:
        return None
    count = math.prod(shape[axis] for axis in axes)
    if keeps and len(shape) == 4 and sorted(axis % 4 for axis in axes) == [2, 3] and not _is_reshaped(out.node):
        return _image_mean(rewriting, data, count, out)
    sums = rewriting.call(torch.ops.aten.sum.dim_IntList, rewriting.centred(data), list(axes), keeps)
    whole = multiplier_of(data.scale / out.scale)
    bits = min(count.bit_length() - 1, 32, 31 + whole.shift)
    part = Multiplier((whole.integer << bits) // count, whole.shift - bits)
    return rewriting.call(integer_sums.rescaled, sums, part.integer, part.shift, Ties.AWAY.value, out.placing)


def _is_reshaped(codes: Node) -> bool:
    """Whether the codes are read by reshapes alone: then the file has a mean that drops its axes, and no reshape."""
    readers = [reader for dequantize in codes.users for reader in dequantize.users]
    return bool(readers) and all(operator(reader) in _RESHAPES for reader in readers)


def _image_mean(rewriting: _Rewriting, data: Codes, count: int, out: Codes) -> Node:
    """A mean over an image that keeps its axes: zero is subtracted behind the mean (integer_ops/mean.h)."""
    zero_point = rounded(float32(float32(data.zero_point * data.scale) / out.scale))
    real = float32(data.scale / float32(count * out.scale))
    placing = (out.zero_point - zero_point, out.lowest, out.highest)
    return rewriting.call(integer_sums.image_means, data.node, *_pair(real), rewriting.kernels.has_vectors, placing)


def _pooled(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """Means over windows on one grid (pooling.cc); None where windows at an edge hold fewer values than others."""
    data, size, told = read(node.args[0]), node.args[1], list(node.args[2:])
    stride, padding, is_ceil, counts_padding, divisor = [*told, *_POOLING[len(told) :]]
    has_padding = padding not in (0, [0], [0, 0])
    if data is None or not data.has_grid_of(out) or is_ceil or divisor or (has_padding and not counts_padding):
        return None
    sums = rewriting.call(node.target, rewriting.centred(data), size, stride, padding, False, True, 1)
    count = size * size if isinstance(size, int) else size[0] * size[-1]
    return rewriting.call(integer_sums.window_means, sums, count, data.zero_point, out.placing)


def _resized(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """An image in another size (resize_bilinear.cc)."""
    data = read(node.args[0])
    if data is None or not data.has_grid_of(out):
        return None
    return rewriting.call(integer_sums.resized, data.node, *_sizes(node)[2:], bool(node.args[2]))


def _leaky(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A leaky ReLU, whose two multipliers are worked out in float32 (activations.cc)."""
    data = read(node.args[0])
    if data is None:
        return None
    slope = float32((*node.args[1:2], 0.01)[0])
    above = _pair(float32(data.scale / out.scale))
    below = _pair(float32(float32(data.scale * slope) / out.scale))
    return rewriting.call(integer_sums.leaky, data.node, data.zero_point, above, below, out.placing)


def _requantized(rewriting: _Rewriting, node: Any, out: Codes) -> Node | None:
    """A tensor on another grid, with or without an activation of its own (quantize.cc, activations.cc)."""
    data = read(node)
    if data is None or data.has_grid_of(out):
        return None
    return rewriting.rescaled(rewriting.centred(data), float32(data.scale / out.scale), out, Ties.AWAY)


def _none(rewriting: _Rewriting, node: Any, out: Codes) -> None:
    """What has no form of its own stays as it is."""


def _form_of(node: Any) -> _Form:
    return _requantized if is_quantized_operator(node, "dequantize_per_tensor") else _FORMS.get(operator(node), _none)


def _sizes(node: Any) -> list[int]:
    """The node's shape; an axis that is open has 1, as in the file."""
    return [size or 1 for size in sizes(node)]


def _pair(real: float) -> tuple[int, int]:
    found = multiplier_of(real)
    return found.integer, found.shift


_POOLING: tuple[Any, ...] = ([], 0, False, True, None)
"""What avg_pool2d does where it is not told: stride (the size), padding, ceil_mode, count_include_pad, divisor."""
_FORMS: Mapping[str, _Form] = {
    **dict.fromkeys(("conv1d", "conv2d", "linear"), _weighted),
    **dict.fromkeys(("matmul", "bmm", "mul"), _product),
    **dict.fromkeys(("add", "sub"), _sum),
    **dict.fromkeys(("mean", "adaptive_avg_pool2d"), _mean),
    "avg_pool2d": _pooled,
    "upsample_bilinear2d": _resized,
    "leaky_relu": _leaky,
}
