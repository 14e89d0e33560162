"""Convolutions of a TFLite graph pad for themselves where they can: an operator of its own costs time and memory.

A convolution's SAME padding is as much as lets the output have 1 / stride of the input's size, half of it in front,
the odd one behind (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2).
"""

from __future__ import annotations

from typing import Any

from .boundary import drop_unused
from .graph import Model, Operator, Tensor, operators

_CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})


def fold_padding(model: Model) -> int:
    """A convolution behind a PAD that pads as SAME would is a SAME one; a PAD that nothing else reads is gone.

    Changes the model; returns how many convolutions pad for themselves now.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    steps = [step for step in operators(model) if step.subgraph == 0]
    pads = {step.outputs[0].index: step for step in steps if step.name == "PAD"}
    folded = 0
    for step in steps:
        pad = pads.get(step.present[0].index) if step.name in _CONVOLUTIONS else None
        if pad is None or step.options.padding != schema.Padding.VALID or not _is_same(step, pad):
            continue
        convolution = graph.operators[step.index]
        convolution.inputs = [pad.present[0].index, *convolution.inputs[1:]]
        convolution.builtinOptions.padding = schema.Padding.SAME
        folded += 1
    if folded:
        _drop_unread(graph, {pad.index for pad in pads.values()})
        drop_unused(model)
    return folded


def _drop_unread(graph: Any, pads: set[int]) -> None:
    read = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
    graph.operators = [
        operator for place, operator in enumerate(graph.operators) if place not in pads or operator.outputs[0] in read
    ]


def _is_same(convolution: Operator, pad: Operator) -> bool:
    """Whether the PAD adds what SAME would, of the value that stands for zero."""
    values, numbers = pad.present[:2]
    if not numbers.is_constant or values.open_axes or _grid(values) != _grid(pad.outputs[0]):
        return False
    options, kernel = convolution.options, convolution.present[1].shape[1:3]
    forms = zip(
        values.shape[1:3],
        kernel,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        strict=True,
    )
    expected = [[0, 0], *(_same(*form) for form in forms), [0, 0]]
    return bool(numbers.values().tolist() == expected)


def _same(size: int, kernel: int, stride: int, dilation: int) -> list[int]:
    """How much SAME pads an axis in front and behind."""
    missing = (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size
    total = max(missing, 0)
    return [total // 2, total - total // 2]


def _grid(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.scales, tensor.zero_points
