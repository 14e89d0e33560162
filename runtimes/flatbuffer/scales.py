"""A quantized TFLite file has the graph's scales and no others.

litert-torch quantizes what stands between a dequantize and a quantize node, and may take a float layer between two of
them for an integer one, with scales that it makes up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ir.errors import StepError
from ...ir.graph import editable, tensor_of
from .graph import Model, Operator, Tensor, integers, kind, operators

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Grids = set[tuple[tuple[float, ...], tuple[int, ...]]]


def refuse_foreign_scales(model: Model, program: ExportedProgram, left_float: Sequence[str] = ()) -> None:
    """StepError where an int8 or int16 tensor of the file is on a grid that the program does not have.

    The message names `left_float`, the layers that are meant to stay in float.
    """
    known = grids_of(program)
    foreign: dict[str, None] = {}
    for operator in operators(model):
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and tensor.dtype in ("int8", "int16") and _grid(tensor) not in known:
                foreign[_named(operator)] = None
    if foreign:
        kept = f", where the plan keeps {', '.join(left_float)} in float" if left_float else ""
        raise StepError(
            f"tflite: litert-torch quantized {', '.join(foreign)} with scales of its own{kept}: it does so with float"
            " layers between int8 ones. Let them be int8 (take them out of compress.quantize.keep_float), or leave"
            " compress.quantize out for this target"
        )


def merge_equal_scales(model: Model) -> None:
    """A dense layer whose channels all have one scale says it once. Changes the model.

    As one scale for each channel it would be another kernel, which old interpreters, TFLite Micro's too, lack.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if kind(model, operator) != "FULLY_CONNECTED":
            continue
        for index in integers(operator.inputs)[1:]:
            form = None if index < 0 else graph.tensors[index].quantization
            if form is None or form.scale is None or len(form.scale) < 2 or len(set(map(float, form.scale))) > 1:
                continue
            form.scale, form.zeroPoint, form.quantizedDimension = form.scale[:1], form.zeroPoint[:1], 0


def grids_of(program: ExportedProgram) -> Grids:
    """(scales, zero points) of every int8 tensor of the program; weights have one for each channel, or one in all."""
    import torch

    operators = torch.ops.quantized_decomposed
    module = editable(program)
    found: Grids = set()
    for node in module.graph.nodes:
        if node.target is operators.quantize_per_tensor.default:
            found.add(((float(np.float32(node.args[1])),), (int(node.args[2]),)))
        elif node.target is operators.dequantize_per_channel.default:
            scales, zeros = (tensor_of(module, node.args[at]).tolist() for at in (1, 2))
            found.add((tuple(scales), tuple(zeros)))
            if len(set(scales)) == 1:
                found.add((tuple(scales[:1]), tuple(zeros[:1])))
    return found


def weight_grids(program: ExportedProgram) -> dict[str, np.ndarray]:
    """The scales (channels,) of every int8 weight of the program, by the name of what holds its integers."""
    import torch

    module = editable(program)
    found: dict[str, np.ndarray] = {}
    for node in module.graph.nodes:
        if node.target is not torch.ops.quantized_decomposed.dequantize_per_channel.default:
            continue
        if tensor_of(module, node.args[0]).dtype == torch.int8:
            found[str(node.args[0].target)] = tensor_of(module, node.args[1]).numpy()
    return found


def _grid(tensor: Tensor) -> tuple[Any, Any]:
    """The tensor's scales, as float32 holds them, and its zero points."""
    scales = tuple(float(np.float32(scale)) for scale in tensor.scales)
    return scales, tuple(tensor.zero_points)


def _named(operator: Operator) -> str:
    from .coverage import layer_name

    return layer_name(operator)
