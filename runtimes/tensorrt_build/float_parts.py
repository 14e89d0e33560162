"""Which nodes of a quantized ONNX model no INT8 kernel takes in: they are what float16 is for.

A layer whose input and weights are quantized adds up integers and scales the sum in float32. Where all that stands
between that and the next quantize node is a ReLU, a clip or a sum with an int8 value, it is part of the same kernel
(Layer Fusion Catalog, https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/fusion-catalog.html), so that
float16 there would round once more and save nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..onnx_graph.quantized_values import DEQUANTIZE, QUANTIZE, STILL

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
GRIDS = frozenset({QUANTIZE, DEQUANTIZE})
_MOVES = STILL | {"Concat", "Split", "Gather", "Tile", "DepthToSpace", "SpaceToDepth"}
"""Operators that hand on values in whichever type they are."""
_FUSED = frozenset({"Relu", "Clip", "Add"})
"""What a layer's kernel does behind its sum (an Add: of an int8 value); what else there is takes kernels of its own."""
_LEAST, _MOST = 2.0**-14, 65504.0 / 127
"""Scales below the first lose digits in float16; above the second, the largest int8 value is none."""


def float_parts(model: onnx_ir.Model) -> tuple[onnx_ir.Node, ...]:
    """The nodes that compute in float outside of INT8 kernels, in order; all of them where nothing is quantized.

    A layer is one where float nodes read it, unless its scales are too small for float16: that one stays, as does an
    operator that ONNX has in float32 alone.
    """
    nodes = list(model.graph.all_nodes())
    inside = {node for node in nodes if is_int8_layer(node) or node.op_type in _FUSED | _MOVES}
    while outside := [node for node in inside if not _stays(node, inside)]:
        inside.difference_update(outside)
    opset = model.graph.opset_imports.get("", 1)
    outside = [node for node in nodes if node not in inside and node.op_type not in GRIDS]
    return tuple(node for node in outside if _has_float16(node, opset))


def is_int8_layer(node: onnx_ir.Node) -> bool:
    """Whether input and weights of the layer both come from dequantize nodes."""
    return node.op_type in LAYERS and all(dequantizer(value) is not None for value in node.inputs[:2])


def dequantizer(value: onnx_ir.Value | None) -> onnx_ir.Node | None:
    """The dequantize node that a value comes from, through what only moves values; None where it is float."""
    node = None if value is None else value.producer()
    while node is not None and node.op_type in STILL:
        node = None if node.inputs[0] is None else node.inputs[0].producer()
    return node if node is not None and node.op_type == DEQUANTIZE else None


def fits_float16(scales: np.ndarray) -> bool:
    """Whether float16 holds the scales, and all values that int8 has on them."""
    return bool((scales >= _LEAST).all() and (scales <= _MOST).all())


def scales_of(node: onnx_ir.Node) -> np.ndarray | None:
    """The scales of a quantize or dequantize node; None where they are computed."""
    scales = node.inputs[1]
    return None if scales is None or scales.const_value is None else scales.const_value.numpy()


def _has_float16(node: onnx_ir.Node, opset: int) -> bool:
    """Whether ONNX lets the operator compute in float16, whatever sizes and scales beside its data are."""
    import onnx

    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return False
    floats = [entry.types for entry in (*schema.inputs[:1], *schema.outputs[:1]) if "tensor(float)" in entry.types]
    return all("tensor(float16)" in types for types in floats)


def _stays(node: onnx_ir.Node, inside: Collection[onnx_ir.Node]) -> bool:
    if is_int8_layer(node) and not _fits(node):
        return True
    is_fed = any(_maker(value) in inside for value in node.inputs) or node.op_type in LAYERS | _MOVES
    computed = [value for value in node.inputs if value is not None and value.const_value is None]
    fed = all(value.producer() is None or _maker(value) in inside or _is_dequantized(value) for value in computed)
    readers = [user for output in node.outputs for user, _ in output.uses()]
    read = all(user in inside or user.op_type == QUANTIZE for user in readers)
    return is_fed and fed and read


def _fits(layer: onnx_ir.Node) -> bool:
    """Whether float16 holds the scales of the layer's input and weights."""
    grids = [node for node in map(dequantizer, layer.inputs[:2]) if node is not None]
    return all(scales is None or fits_float16(scales) for scales in map(scales_of, grids))


def _maker(value: onnx_ir.Value | None) -> onnx_ir.Node | None:
    return None if value is None else value.producer()


def _is_dequantized(value: onnx_ir.Value) -> bool:
    maker = value.producer()
    return maker is not None and maker.op_type == DEQUANTIZE
