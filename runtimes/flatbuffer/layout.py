"""No TRANSPOSE is left in a TFLite graph that the operator behind it can do without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .boundary import drop_unused
from .graph import Model, integers, kind


def fold_transposes(model: Model) -> int:
    """PAD between a TRANSPOSE and its inverse, and MEAN behind one, take their values as they lie.

    Changes the model; returns how many TRANSPOSEs went.
    """
    gone = 0
    while any(_fold(model, operator) for operator in list(model.subgraphs[0].operators)):
        gone += 1
    if gone:
        _drop_unread(model)
        drop_unused(model)
    return gone


def _drop_unread(model: Model) -> None:
    """No TRANSPOSE is left whose result nothing reads."""
    graph = model.subgraphs[0]
    read = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
    graph.operators = [
        operator for operator in graph.operators if kind(model, operator) != "TRANSPOSE" or operator.outputs[0] in read
    ]


def _fold(model: Model, operator: Any) -> bool:
    graph = model.subgraphs[0]
    name = kind(model, operator)
    if name not in ("PAD", "MEAN"):
        return False
    before = _maker(model, operator.inputs[0])
    axes = None if before is None else _permutation(model, before)
    if before is None or axes is None:
        return False
    numbers = _constant(model, operator.inputs[1])
    if numbers is None:
        return False
    if name == "MEAN":
        reduced = [axis % len(axes) for axis in numbers]
        kept = [axes[axis] for axis in range(len(axes)) if axis not in reduced]
        if operator.builtinOptions.keepDims or kept != sorted(kept):
            return False
        _point(model, operator, before.inputs[0], [axes[axis] for axis in reduced])
        return True
    after = _only_reader(model, operator.outputs[0])
    back = None if after is None else _permutation(model, after)
    if after is None or back is None or [axes[axis] for axis in back] != list(range(len(axes))):
        return False
    pairs = [numbers[2 * axis : 2 * axis + 2] for axis in range(len(axes))]
    _point(model, operator, before.inputs[0], [number for axis in back for number in pairs[axis]])
    operator.outputs = [after.outputs[0]]
    graph.operators = [each for each in graph.operators if each is not after]
    return True


def _maker(model: Model, tensor: int) -> Any | None:
    """The TRANSPOSE that computes the tensor; None where something else does."""
    for operator in model.subgraphs[0].operators:
        if tensor in operator.outputs:
            return operator if kind(model, operator) == "TRANSPOSE" else None
    return None


def _only_reader(model: Model, tensor: int) -> Any | None:
    """The TRANSPOSE that alone reads the tensor; None where something else does, or the graph hands it out."""
    graph = model.subgraphs[0]
    readers = [operator for operator in graph.operators if tensor in operator.inputs]
    is_output = tensor in graph.outputs
    return readers[0] if len(readers) == 1 and not is_output and kind(model, readers[0]) == "TRANSPOSE" else None


def _permutation(model: Model, transpose: Any) -> list[int] | None:
    """Which axis of its input each axis of its output is."""
    return _constant(model, transpose.inputs[1])


def _constant(model: Model, index: int) -> list[int] | None:
    """The whole numbers of an int32 tensor that is stored in the file; None where it is computed."""
    import numpy as np

    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    return None if data is None or len(data) == 0 else np.frombuffer(bytes(data), np.int32).tolist()


def _point(model: Model, operator: Any, source: int, numbers: Sequence[int]) -> None:
    """The operator reads `source`, with these numbers as its second input: a tensor of its own."""
    import copy

    import numpy as np

    graph = model.subgraphs[0]
    old = graph.tensors[operator.inputs[1]]
    fresh, buffer = copy.copy(old), copy.copy(model.buffers[old.buffer])
    buffer.data = np.frombuffer(np.asarray(numbers, np.int32).tobytes(), np.uint8)
    fresh.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(fresh)
    operator.inputs = [source, len(graph.tensors) - 1, *integers(operator.inputs)[2:]]
