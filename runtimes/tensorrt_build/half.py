"""An ONNX model that computes in float16, and still takes and hands out float32.

TensorRT's networks are strongly typed from 11 on: what is to run in float16 has to have that type in the model
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Strongly Typed Networks").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.errors import StepError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

_KEPT = {"Resize": (1, 2), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}
"""Inputs, by operator, that stay as they are: sizes and scales."""


def halve(model: onnx_ir.Model) -> None:
    """Every constant and every value of the float model is float16; inputs and outputs have casts beside them.

    StepError where a constant is too large for float16 (65504), or where the model is quantized.
    """
    import onnx_ir

    graph = model.graph
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.all_nodes()):
        raise StepError("tensorrt: only a float model can be computed in float16 throughout")
    for value in graph.initializers.values():
        if value.const_value is not None and value.const_value.dtype == onnx_ir.DataType.FLOAT and not _is_kept(value):
            _set_constant(value, _halved(value.const_value.numpy(), value.name or ""))
    for node in graph.all_nodes():
        _retype(node)
    for value in graph.inputs:
        if value.dtype == onnx_ir.DataType.FLOAT:
            _cast_behind(graph, value)
    for index, value in enumerate(graph.outputs):
        if value.dtype == onnx_ir.DataType.FLOAT16:
            graph.outputs[index] = _cast_before_end(graph, value)


def _is_kept(value: onnx_ir.Value) -> bool:
    return any(at in _KEPT.get(node.op_type, ()) for node, at in value.uses())


def _halved(array: np.ndarray, name: str) -> np.ndarray:
    import numpy as np

    most = float(np.finfo(np.float16).max)
    finite = array[np.isfinite(array)]
    if finite.size and float(np.abs(finite).max()) > most:
        raise StepError(f"tensorrt: {name} holds values above {most:g}, which float16 does not hold")
    return array.astype(np.float16)


def _set_constant(value: onnx_ir.Value, array: np.ndarray) -> None:
    import onnx_ir

    value.const_value = onnx_ir.tensor(array, name=value.name)
    value.type = onnx_ir.TensorType(value.const_value.dtype)


def _retype(node: onnx_ir.Node) -> None:
    """What the node makes is float16 where it was float32; what it says of types and constants follows."""
    import onnx_ir

    wide, narrow = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16
    if node.op_type == "Cast" and node.attributes.get_int("to") == wide:
        node.attributes["to"] = onnx_ir.AttrInt64("to", narrow)
    held = node.attributes.get("value")
    if held is not None and held.type == onnx_ir.AttributeType.TENSOR and held.value.dtype == wide:
        array = _halved(held.value.numpy(), node.name or "")
        node.attributes["value"] = onnx_ir.AttrTensor("value", onnx_ir.tensor(array))
    for output in node.outputs:
        if output.dtype == wide:
            output.type = onnx_ir.TensorType(narrow)


def _cast_behind(graph: onnx_ir.Graph, value: onnx_ir.Value) -> None:
    import onnx_ir

    uses = list(value.uses())
    if not uses:
        return
    cast = onnx_ir.node("Cast", [value], {"to": onnx_ir.DataType.FLOAT16}, name=f"{value.name}_to_float16")
    (narrow,) = cast.outputs
    narrow.name, narrow.shape = f"{value.name}_float16", value.shape
    narrow.type = onnx_ir.TensorType(onnx_ir.DataType.FLOAT16)
    graph.insert_before(graph[0], cast)
    for node, index in uses:
        if index not in _KEPT.get(node.op_type, ()):
            node.replace_input_with(index, narrow)


def _cast_before_end(graph: onnx_ir.Graph, value: onnx_ir.Value) -> onnx_ir.Value:
    """A float32 output that has the name of the one in float16."""
    import onnx_ir

    name, value.name = value.name, f"{value.name}_float16"
    cast = onnx_ir.node("Cast", [value], {"to": onnx_ir.DataType.FLOAT}, name=f"{name}_to_float32")
    (wide,) = cast.outputs
    wide.name, wide.shape, wide.type = name, value.shape, onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    graph.append(cast)
    return wide
