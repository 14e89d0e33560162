"""Layers that are meant to stay in float do stay in float.

onnxruntime (seen in 1.32: `WeightBiasQuantization`) takes a Conv, ConvTranspose or Gemm with float weights that stands
between a dequantize and a quantize node, and quantizes its weights itself, per tensor: just the layers that a recipe
keeps in float. It only does so where the dequantize node has a single scale, so such a layer gets a dequantize node
of its own that repeats the scale for every channel and gives the very same values
(https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/optimizer/qdq_transformer/weight_bias_quantization.cc).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.errors import StepError

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

_TAKEN = frozenset({"Conv", "ConvTranspose", "Gemm"})


def keep_float_layers(model: onnx_ir.Model) -> None:
    """Every layer with float weights reads its quantized input through a dequantize node with a scale per channel."""
    graph = model.graph
    for layer in list(graph):
        dequantize = _plain_dequantize_before(layer)
        if dequantize is not None:
            _repeat_scale(graph, layer, dequantize)


def _plain_dequantize_before(layer: onnx_ir.Node) -> onnx_ir.Node | None:
    """The dequantize node with a single scale that feeds a layer with float weights; None where there is none."""
    import onnx_ir

    if layer.op_type not in _TAKEN or layer.inputs[0] is None or layer.inputs[1] is None:
        return None
    maker, weights = layer.inputs[0].producer(), layer.inputs[1].const_value
    if weights is None or weights.dtype != onnx_ir.DataType.FLOAT:
        return None
    if maker is None or maker.op_type != "DequantizeLinear" or _constant(maker, 1).size != 1:
        return None
    return maker


def _repeat_scale(graph: onnx_ir.Graph, layer: onnx_ir.Node, dequantize: onnx_ir.Node) -> None:
    import numpy as np
    import onnx_ir

    channels = _channels(layer)
    parts = [dequantize.inputs[0]]
    for index, name in ((1, "scale"), (2, "zero_point")):
        single = _constant(dequantize, index)
        repeated = onnx_ir.tensor(np.full(channels, single.item(), single.dtype), name=f"{layer.name}_input_{name}")
        value = onnx_ir.Value(name=repeated.name, const_value=repeated)
        value.shape, value.type = onnx_ir.Shape([channels]), onnx_ir.TensorType(repeated.dtype)
        graph.register_initializer(value)
        parts.append(value)
    fresh = onnx_ir.node("DequantizeLinear", parts, {"axis": 1}, name=f"{layer.name}_input")
    (old,), (new,) = dequantize.outputs, fresh.outputs
    new.name, new.shape, new.type = f"{layer.name}_input", old.shape, old.type
    graph.insert_before(layer, fresh)
    layer.replace_input_with(0, new)
    if not old.uses() and not old.is_graph_output():
        graph.remove(dequantize, safe=True)


def _channels(layer: onnx_ir.Node) -> int:
    """How large axis 1 of the layer's input is, by its weights."""
    first, second = (int(size) for size in _constant(layer, 1).shape[:2])
    match layer.op_type:
        case "Conv":  # (out, in / groups, *kernel)
            return second * layer.attributes.get_int("group", 1)
        case "ConvTranspose":  # (in, out / groups, *kernel)
            return first
        case _:
            return second if layer.attributes.get_int("transB", 0) else first


def _constant(node: onnx_ir.Node, index: int) -> np.ndarray:
    value = node.inputs[index]
    if value is None or value.const_value is None:
        raise StepError(f"onnxruntime: input {index} of {node.name} is not a constant")
    array: np.ndarray = value.const_value.numpy()
    return array
