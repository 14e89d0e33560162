"""A quantized ONNX model without its quantize and dequantize nodes: the same network in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.errors import StepError
from ..onnx_graph.quantized_values import DEQUANTIZE, QUANTIZE

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir


def unquantize(model: onnx_ir.Model) -> None:
    """Activations are what they were before they were rounded; stored integers are the floats that they stand for.

    StepError where integers are neither stored nor made by a quantize node.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for node in list(model.graph.all_nodes()):
        if node.op_type != DEQUANTIZE:
            continue
        codes, output = node.inputs[0], node.outputs[0]
        maker = None if codes is None else codes.producer()
        if maker is not None and maker.op_type == QUANTIZE and maker.inputs[0] is not None:
            right = maker.inputs[0]
        elif codes is not None and codes.const_value is not None:
            right = _floats(node, codes)
            model.graph.register_initializer(right)
        else:
            raise StepError(f"tensorrt: {node.name} dequantizes what no quantize node made")
        for index, value in enumerate(model.graph.outputs):
            if value is output:
                model.graph.outputs[index] = _handed_out(model.graph, node, right)
        onnx_ir.convenience.replace_all_uses_with(output, right)
    RemoveUnusedNodesPass()(model)


def _handed_out(graph: onnx_ir.Graph, node: onnx_ir.Node, value: onnx_ir.Value) -> onnx_ir.Value:
    """The value as an output of the model, under the name of what the node made."""
    import onnx_ir

    old = node.outputs[0]
    same = onnx_ir.node("Identity", [value], name=f"{node.name}_output")
    (output,) = same.outputs
    name, old.name = old.name, f"{old.name}_rounded"
    output.name, output.shape, output.type = name, old.shape, old.type
    graph.insert_after(node, same)
    return output


def _floats(node: onnx_ir.Node, codes: onnx_ir.Value) -> onnx_ir.Value:
    """The constant that the node hands out, under a name of its own: others may read the integers on other scales."""
    import numpy as np
    import onnx_ir

    integers, scales, zeros = (_array(value) for value in (codes, *node.inputs[1:]))
    shape = [1] * integers.ndim
    if scales.size > 1:
        shape[node.attributes.get_int("axis", 1)] = -1
    values = (integers.astype(np.float32) - zeros.astype(np.float32).reshape(shape)) * scales.reshape(shape)
    name = f"{node.outputs[0].name}_float"
    tensor = onnx_ir.tensor(values.astype(np.float32), name=name)
    kind = onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    return onnx_ir.Value(name=name, shape=onnx_ir.Shape(values.shape), type=kind, const_value=tensor)


def _array(value: onnx_ir.Value | None) -> np.ndarray:
    if value is None or value.const_value is None:
        raise StepError("tensorrt: scales and zero points are expected to be stored")
    return value.const_value.numpy()
