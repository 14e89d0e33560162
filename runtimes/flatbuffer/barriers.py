"""The operators that kept a converter from taking float operators for integer ones leave the file again."""

from __future__ import annotations

from typing import Any

from ...ir.errors import StepError
from .boundary import drop_unused
from .graph import Model, kind

BARRIER = "FLOOR"
_MOVES = frozenset({"TRANSPOSE", "RESHAPE"})


def remove_barriers(model: Model, count: int) -> None:
    """Whoever read a FLOOR of what was just dequantized reads what it read; `count` says how many there must be.

    Changes the model. StepError where there are more or fewer: the file would not compute what was simulated.
    """
    if not count:
        return
    graph = model.subgraphs[0]
    makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
    found = [operator for operator in graph.operators if _is_barrier(model, operator, makers)]
    if len(found) != count:
        raise StepError(f"tflite: expected {count} places where float operators read integers, found {len(found)}")
    for barrier in found:
        _bypass(graph, barrier)
    drop_unused(model)


def _is_barrier(model: Model, operator: Any, makers: dict[int, Any]) -> bool:
    if kind(model, operator) != BARRIER:
        return False
    before = makers.get(int(operator.inputs[0]))
    while before is not None and kind(model, before) in _MOVES:
        before = makers.get(int(before.inputs[0]))
    return before is not None and kind(model, before) == "DEQUANTIZE"


def _bypass(graph: Any, barrier: Any) -> None:
    source, result = barrier.inputs[0], barrier.outputs[0]
    graph.operators = [operator for operator in graph.operators if operator is not barrier]
    for reader in graph.operators:
        reader.inputs = [source if index == result else index for index in reader.inputs]
    graph.outputs = [source if index == result else index for index in graph.outputs]
