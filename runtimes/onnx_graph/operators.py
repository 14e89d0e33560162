"""Operators that edgewright itself says in ONNX, because torch.onnx would take them apart.

torch.onnx takes an operator apart by tracing the whole program again, which takes most of the time of an emission.
What it makes of a pooling to one value is a ReduceMean, which onnxruntime only computes in float; its GlobalAveragePool
has an int8 kernel (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...ir.graph import operator

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def translations(program: ExportedProgram) -> dict[Any, Callable[..., Any]]:
    """What `torch.onnx.export` takes as its `custom_translation_table`; only what holds for all of the program."""
    import torch
    from onnxscript import opset18

    onnx: Any = opset18

    def global_average(values: Any, output_size: Any) -> Any:
        return onnx.GlobalAveragePool(values)

    def zeros_like(values: Any) -> Any:
        return onnx.CastLike(onnx.ConstantOfShape(onnx.Shape(values)), values)

    table: dict[Any, Callable[..., Any]] = {torch.ops.aten.zero.default: zeros_like}
    pools = [node for node in program.graph.nodes if operator(node) == "adaptive_avg_pool2d"]
    if all(size == 1 for node in pools for size in node.args[1]):
        table[torch.ops.aten.adaptive_avg_pool2d.default] = global_average
    return table
