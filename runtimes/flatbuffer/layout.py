"""No TRANSPOSE is left in a TFLite graph that the operator behind it can do without."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from .boundary import drop_unused, redirect
from .graph import Model, integers, kind, text

_TURNS = frozenset({"TRANSPOSE", "RESHAPE"})
"""What turns values: converters write a RESHAPE for a TRANSPOSE that only moves axes of size 1."""
_MOST_AXES = 4


def fold_transposes(model: Model) -> int:
    """PAD between a TRANSPOSE and its inverse, and MEAN behind one, take their values as they lie; so does what stands
    behind both with nothing between them, be it the end.

    Changes the model; returns how many operators were rid of one.
    """
    gone = 0
    while any(_fold(model, operator) for operator in list(model.subgraphs[0].operators)):
        gone += 1
    if gone:
        _drop_unread(model)
        drop_unused(model)
    return gone


def _drop_unread(model: Model) -> None:
    """Nothing that turns values is left whose result nothing reads."""
    graph = model.subgraphs[0]
    read = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
    graph.operators = [
        operator for operator in graph.operators if kind(model, operator) not in _TURNS or operator.outputs[0] in read
    ]


def _fold(model: Model, operator: Any) -> bool:
    fold = {"PAD": _fold_padding, "MEAN": _fold_mean, **dict.fromkeys(_TURNS, _fold_inverse)}.get(kind(model, operator))
    before = None if fold is None else _maker(model, operator.inputs[0])
    if fold is None or before is None:
        return False
    return any(fold(model, operator, before, axes) for axes in _orders(model, before))


def _fold_inverse(model: Model, operator: Any, before: Any, axes: Sequence[int]) -> bool:
    """Whoever reads what was turned and turned back reads what it was before; so does the caller of the graph.

    An input that is handed out, and a tensor that is handed out twice, stay tensors of their own.
    """
    graph, turned, whole = model.subgraphs[0], operator.outputs[0], before.inputs[0]
    if turned in graph.outputs and whole in {*graph.inputs, *graph.outputs}:
        return False
    if not any(_are_inverse(axes, back) for back in _orders(model, operator)):
        return False
    graph.operators = [each for each in graph.operators if each is not operator]
    redirect(model, {turned: whole})
    return True


def _fold_mean(model: Model, operator: Any, before: Any, axes: Sequence[int]) -> bool:
    numbers = _constant(model, operator.inputs[1])
    if numbers is None:
        return False
    reduced = [axis % len(axes) for axis in numbers]
    kept = [axes[axis] for axis in range(len(axes)) if axis not in reduced]
    if operator.builtinOptions.keepDims or kept != sorted(kept):
        return False
    _point(model, operator, before.inputs[0], [axes[axis] for axis in reduced])
    return True


def _fold_padding(model: Model, operator: Any, before: Any, axes: Sequence[int]) -> bool:
    graph, numbers = model.subgraphs[0], _constant(model, operator.inputs[1])
    after = _only_reader(model, operator.outputs[0])
    if after is None or numbers is None:
        return False
    back = next((each for each in _orders(model, after) if _are_inverse(axes, each)), None)
    if back is None:
        return False
    pairs = [numbers[2 * axis : 2 * axis + 2] for axis in range(len(axes))]
    _point(model, operator, before.inputs[0], [number for axis in back for number in pairs[axis]])
    operator.outputs = [after.outputs[0]]
    graph.operators = [each for each in graph.operators if each is not after]
    return True


def _are_inverse(axes: Sequence[int], back: Sequence[int]) -> bool:
    return len(axes) == len(back) and [axes[axis] for axis in back] == list(range(len(axes)))


def _maker(model: Model, tensor: int) -> Any | None:
    """The operator that turned the tensor; None where something else computes it."""
    for operator in model.subgraphs[0].operators:
        if tensor in operator.outputs:
            return operator if kind(model, operator) in _TURNS else None
    return None


def _only_reader(model: Model, tensor: int) -> Any | None:
    """The operator that turns the tensor and alone reads it; None where something else does, or the graph gives it."""
    graph = model.subgraphs[0]
    readers = [operator for operator in graph.operators if tensor in operator.inputs]
    is_output = tensor in graph.outputs
    return readers[0] if len(readers) == 1 and not is_output and kind(model, readers[0]) in _TURNS else None


def _orders(model: Model, operator: Any) -> list[list[int]]:
    """Which axis of its input each axis of its output is, in every way that this can be said.

    A RESHAPE is a TRANSPOSE where only axes of size 1 move; which of them went where can't be told, nor matters.
    """
    if kind(model, operator) == "TRANSPOSE":
        order = _constant(model, operator.inputs[1])
        return [] if order is None else [order]
    known = model.subgraphs[0].tensors
    given, made = (integers(known[index].shape) for index in (operator.inputs[0], operator.outputs[0]))
    if len(given) != len(made) or len(given) > _MOST_AXES:
        return []
    orders = map(list, itertools.permutations(range(len(given))))
    return [order for order in orders if [given[axis] for axis in order] == made and _keeps_values(given, order)]


def _keeps_values(sizes: Sequence[int], order: Sequence[int]) -> bool:
    """Whether the values lie as before once the axes have this order."""
    long = [axis for axis in order if sizes[axis] != 1]
    return long == sorted(long)


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
    fresh.buffer, fresh.name = len(model.buffers), f"{text(old.name)}/{len(graph.tensors)}"
    model.buffers.append(buffer)
    graph.tensors.append(fresh)
    operator.inputs = [source, len(graph.tensors) - 1, *integers(operator.inputs)[2:]]
