"""An ONNX model that computes in float16 what no INT8 kernel does, and still takes and hands out float32.

TensorRT's networks are strongly typed from 11 on: what is to run in float16 has to have that type in the model
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Strongly Typed Networks").
A quantize or dequantize node has the type of its scale.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from ..onnx_graph.quantized_values import DEQUANTIZE, QUANTIZE
from .float_parts import fits_float16, float_parts, scales_of

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

_KEPT = {"Resize": (1, 2), QUANTIZE: (1,), DEQUANTIZE: (1,)}
"""Inputs, by operator, that do not follow the type of the rest: sizes and scales."""
_MOST = 65504.0


def halve(model: onnx_ir.Model) -> str:
    """What computes in float outside of INT8 kernels has float16 values; all of it where nothing is quantized.

    Inputs and outputs stay float32. Returns nothing, or why float16 can't hold the model; nothing is changed then.
    """
    import onnx_ir

    _infer_types(model)
    parts = float_parts(model)
    if too_large := _too_large(parts):
        return f"{too_large} is above {_MOST:g} somewhere, which float16 does not hold"
    narrow = frozenset(parts)
    _round_scales(model, narrow)
    for node in parts:
        _retype(node)
    made: dict[tuple[str, str], onnx_ir.Value] = {}
    for node in list(model.graph.all_nodes()):
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype not in (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16):
                continue
            wanted = _wanted(node, index, narrow)
            if wanted is not None and wanted != value.dtype:
                key = (value.name or "", wanted.name)
                made[key] = made.get(key) or _in_type(model.graph, value, wanted)
                node.replace_input_with(index, made[key])
    for index, value in enumerate(model.graph.outputs):
        if value.dtype == onnx_ir.DataType.FLOAT16:
            model.graph.outputs[index] = _cast_before_end(model.graph, value)
    _remove_unread(model)
    return ""


def _infer_types(model: onnx_ir.Model) -> None:
    """Every value has its type, as far as it can be told."""
    from onnx_ir.passes.common import ShapeInferencePass

    if any(output.dtype is None for node in model.graph.all_nodes() for output in node.outputs):
        ShapeInferencePass()(model)


def _too_large(parts: Sequence[onnx_ir.Node]) -> str:
    """What one of the nodes reads, a constant or an int8 value, that float16 does not hold; empty where it does."""
    for node in parts:
        if _largest(_held(node)) > _MOST:
            return node.name or node.op_type
        kept = _KEPT.get(node.op_type, ())
        for value in (value for index, value in enumerate(node.inputs) if index not in kept):
            maker = None if value is None else value.producer()
            scales = scales_of(maker) if maker is not None and maker.op_type == DEQUANTIZE else None
            stored = None if value is None or value.const_value is None else value.const_value.numpy()
            if value is not None and (_largest(stored) > _MOST or 127 * _largest(scales) > _MOST):
                return value.name or node.op_type
    return ""


def _held(node: onnx_ir.Node) -> np.ndarray | None:
    """The constant that a node has as its attribute."""
    import onnx_ir

    held = node.attributes.get("value")
    return held.value.numpy() if held is not None and held.type == onnx_ir.AttributeType.TENSOR else None


def _largest(array: np.ndarray | None) -> float:
    """The largest size of a float32 array's finite values; 0 of another array."""
    import numpy as np

    if array is None or array.dtype != np.float32:
        return 0.0
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


def _round_scales(model: onnx_ir.Model, narrow: Collection[onnx_ir.Node]) -> None:
    """A scale that is needed in float16 too is the same number in both types, wherever it stands."""
    import numpy as np

    grids = [node for node in model.graph.all_nodes() if node.op_type in (QUANTIZE, DEQUANTIZE)]
    stored = {node: scales for node in grids if (scales := scales_of(node)) is not None}
    needed = {scales.tobytes() for node, scales in stored.items() if _is_narrow(node, narrow)}
    for node, scales in stored.items():
        value = node.inputs[1]
        if value is not None and scales.tobytes() in needed and fits_float16(scales) and scales.dtype == np.float32:
            _set_constant(value, scales.astype(np.float16).astype(np.float32))


def _is_narrow(grid: onnx_ir.Node, narrow: Collection[onnx_ir.Node]) -> bool:
    """Whether a float16 node stands before a quantize node, or behind a dequantize node."""
    if grid.op_type == QUANTIZE:
        return grid.inputs[0] is not None and grid.inputs[0].producer() in narrow
    return any(user in narrow for user, _ in grid.outputs[0].uses())


def _wanted(node: onnx_ir.Node, index: int, narrow: Collection[onnx_ir.Node]) -> onnx_ir.DataType | None:
    """The type in which a node reads its float input; None where any will do."""
    import onnx_ir

    wide, half = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16
    if node.op_type == QUANTIZE:
        scales, value = scales_of(node), node.inputs[0]
        if index == 0:
            return None if scales is not None and fits_float16(scales) else wide
        return value.dtype if value is not None else wide
    if index in _KEPT.get(node.op_type, ()):
        return None
    return half if node in narrow else wide


def _retype(node: onnx_ir.Node) -> None:
    """What the node makes is float16 where it was float32; what it says of types and constants follows."""
    import numpy as np
    import onnx_ir

    wide, half = onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16
    if node.op_type == "Cast" and node.attributes.get_int("to") == wide:
        node.attributes["to"] = onnx_ir.AttrInt64("to", half)
    held = _held(node)
    if held is not None and held.dtype == np.float32:
        node.attributes["value"] = onnx_ir.AttrTensor("value", onnx_ir.tensor(_narrowed(held)))
    for output in node.outputs:
        if output.dtype == wide:
            output.type = onnx_ir.TensorType(half)


def _in_type(graph: onnx_ir.Graph, value: onnx_ir.Value, dtype: onnx_ir.DataType) -> onnx_ir.Value:
    """The same value in another type: a constant, what a dequantize node of its own hands out, or a cast."""
    import onnx_ir

    name = f"{value.name}_{dtype.name.lower()}"
    if value.const_value is not None:
        stored = value.const_value.numpy()
        is_half = dtype == onnx_ir.DataType.FLOAT16
        return _constant(graph, name, _narrowed(stored) if is_half else stored.astype(dtype.numpy()))
    maker = value.producer()
    scales = None if maker is None or maker.op_type != DEQUANTIZE else scales_of(maker)
    if maker is not None and scales is not None and fits_float16(scales):
        grid = _constant(graph, f"{name}_scale", scales.astype(dtype.numpy()))
        inputs = [maker.inputs[0], grid, *maker.inputs[2:]]
        made = onnx_ir.node(DEQUANTIZE, inputs, maker.attributes, name=f"{maker.name}_{dtype.name.lower()}")
    else:
        made = onnx_ir.node("Cast", [value], {"to": dtype}, name=name)
    (output,) = made.outputs
    output.name, output.shape, output.type = name, value.shape, onnx_ir.TensorType(dtype)
    if maker is None:
        graph.insert_before(graph[0], made)
    else:
        (maker.graph or graph).insert_after(maker, made)
    return output


def _narrowed(array: np.ndarray) -> np.ndarray:
    """The array in float16. What is not 0 does not become 0: it may be there to keep a division from that."""
    import numpy as np

    half = array.astype(np.float16)
    least = np.copysign(np.finfo(np.float16).smallest_subnormal, half)
    return np.where((half == 0) & (array != 0), least, half)


def _constant(graph: onnx_ir.Graph, name: str, array: np.ndarray) -> onnx_ir.Value:
    import onnx_ir

    tensor = onnx_ir.tensor(array, name=name)
    value = onnx_ir.Value(
        name=name, shape=onnx_ir.Shape(array.shape), type=onnx_ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def _set_constant(value: onnx_ir.Value, array: np.ndarray) -> None:
    import onnx_ir

    value.const_value = onnx_ir.tensor(array, name=value.name)


def _cast_before_end(graph: onnx_ir.Graph, value: onnx_ir.Value) -> onnx_ir.Value:
    """A float32 output that has the name of the one in float16."""
    import onnx_ir

    name, value.name = value.name, f"{value.name}_float16"
    cast = onnx_ir.node("Cast", [value], {"to": onnx_ir.DataType.FLOAT}, name=f"{name}_to_float32")
    (wide,) = cast.outputs
    wide.name, wide.shape, wide.type = name, value.shape, onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    graph.append(cast)
    return wide


def _remove_unread(model: onnx_ir.Model) -> None:
    """Nodes and constants that only their other type is read of are gone."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
