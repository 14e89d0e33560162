"""Layers that are products of smaller ones: what the smaller ones are, and a layer with them in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

Method = Literal["svd", "tucker", "cp"]
AXES: dict[int, tuple[str, ...]] = {1: ("along",), 2: ("vertical", "horizontal"), 3: ("deep", "vertical", "horizontal")}
"""What the convolutions along one axis each are called, by how many axes there are."""


@dataclass(frozen=True)
class Factors:
    """How a layer is taken apart, and the widths in between.

    `svd`: one rank. `tucker`: those of the input and of the output side; a side whose rank is its width stays as it
    is. `cp`: one rank.
    """

    method: Method
    ranks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.method} {'x'.join(map(str, self.ranks))}"


@dataclass(frozen=True)
class Piece:
    """One of the smaller layers; of the kernel it has the axes that are named, and is of size one along the others."""

    name: str
    inputs: int
    outputs: int
    axes: tuple[int, ...] = ()
    groups: int = 1


def kernel_of(layer: nn.Module) -> tuple[int, ...]:
    """The size of a convolution's kernel; empty for a linear layer."""
    return tuple(getattr(layer, "kernel_size", ()))


def pieces(layer: nn.Module, factors: Factors) -> tuple[Piece, ...]:
    """The smaller layers, in the order in which they run.

    A matrix (a linear layer, a kernel of size one) is two layers. A kernel is, by `svd`, the kernel to fewer channels
    and then a matrix; by `tucker`, a matrix, the kernel and a matrix; by `cp`, a matrix, one convolution of each
    channel alone along each axis, and a matrix.
    """
    outputs, inputs = _widths(layer)
    kernel = kernel_of(layer)
    axes = tuple(range(len(kernel)))
    first, last = factors.ranks[0], factors.ranks[-1]
    if factors.method == "tucker":
        reduce = (Piece("reduce", inputs, first),) if first < inputs else ()
        expand = (Piece("expand", last, outputs),) if last < outputs else ()
        return (*reduce, Piece("core", first, last, axes), *expand)
    if factors.method == "svd":
        name = "core" if math.prod(kernel) > 1 else "reduce"
        return Piece(name, inputs, first, axes), Piece("expand", first, outputs)
    names = AXES.get(len(kernel), ())
    between = [Piece(names[axis], first, first, (axis,), first) for axis in axes if _is_needed(layer, axis)]
    return Piece("reduce", inputs, first), *between, Piece("expand", first, outputs)


def assemble(layer: nn.Module, factors: Factors) -> nn.Sequential:
    """The smaller layers in sequence, with weights that say nothing yet; the last has a bias where the layer has one.

    Names within are those of `pieces`, so that a layer's name is still the beginning of theirs.
    """
    from torch import nn

    parts: dict[str, nn.Module] = {}
    found = pieces(layer, factors)
    for piece in found:
        has_bias = piece is found[-1] and getattr(layer, "bias", None) is not None
        parts[piece.name] = _part(layer, piece, has_bias)
    sequence = nn.Sequential()
    for name, part in parts.items():
        sequence.add_module(name, part)
    weight: Any = layer.weight
    return sequence.to(weight.device, weight.dtype).requires_grad_(weight.requires_grad).train(layer.training)


def multiplications(layer: nn.Module, parts: Sequence[Piece], before: Sequence[int], behind: Sequence[int]) -> int:
    """Multiply-accumulates of one call: `before` and `behind` are the positions along each axis, in and out.

    A linear layer's positions are one number.
    """
    kernel, size, total = kernel_of(layer), list(before), 0
    for piece in parts:
        for axis in piece.axes:
            size[axis] = behind[axis]
        taps = math.prod(kernel[axis] for axis in piece.axes)
        total += math.prod(size) * piece.outputs * piece.inputs // piece.groups * taps
    return total


def whole(layer: nn.Module) -> Piece:
    """The layer itself, as one piece."""
    outputs, inputs = _widths(layer)
    return Piece("", inputs, outputs, tuple(range(len(kernel_of(layer)))))


def _is_needed(layer: Any, axis: int) -> bool:
    """Whether something happens along the axis; where nothing does, the matrix behind takes the factor in."""
    padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
    return bool(layer.kernel_size[axis] > 1 or layer.stride[axis] > 1 or padding)


def _part(layer: Any, piece: Piece, has_bias: bool) -> nn.Module:
    from torch import nn

    kernel = kernel_of(layer)
    if not kernel:
        return nn.Linear(piece.inputs, piece.outputs, has_bias)
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]

    def along(values: Sequence[int], other: int) -> tuple[int, ...]:
        return tuple(value if axis in piece.axes else other for axis, value in enumerate(values))

    padding = layer.padding if isinstance(layer.padding, str) else along(layer.padding, 0)
    return kind(  # type: ignore[no-any-return]
        piece.inputs,
        piece.outputs,
        along(kernel, 1),
        along(layer.stride, 1),
        padding if piece.axes else 0,
        along(layer.dilation, 1),
        piece.groups,
        has_bias,
        layer.padding_mode if piece.axes else "zeros",
    )


def _widths(layer: Any) -> tuple[int, int]:
    if kernel_of(layer):
        return int(layer.out_channels), int(layer.in_channels)
    return int(layer.out_features), int(layer.in_features)
