"""How much an ONNX model computes and holds, counted on its graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

Shapes = Mapping[str, tuple[int, ...]]

_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def count(file: Path) -> tuple[int, int]:
    """(multiply-accumulates, parameters) of one inference; an open batch counts as 1.

    Multiply-accumulates are those of convolutions and matrix products, with quantize nodes around them or not.
    Parameters are the elements of every constant of rank 1 and more that is computed with: not scales, not zero
    points, not integers that say shapes or axes.
    """
    model = _with_batch_one(file)
    shapes = _shapes(model)
    macs = sum(_macs(node, shapes) for node in model.graph.node)
    return macs, _parameters(model.graph)


def _with_batch_one(file: Path) -> onnx.ModelProto:
    """The model with size 1 for every open axis, and the shape arithmetic that rested on it folded away."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    axes = [axis for value in model.graph.input for axis in value.type.tensor_type.shape.dim]
    if all(axis.HasField("dim_value") for axis in axes):
        return model
    import onnx_ir
    from onnxscript import optimizer

    open_model = onnx_ir.load(file)
    for value in open_model.graph.inputs:
        value.shape = onnx_ir.Shape([size if isinstance(size, int) else 1 for size in value.shape or ()])
    for node in open_model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
    optimizer.optimize_ir(open_model)
    return onnx_ir.to_proto(open_model)


def _shapes(model: onnx.ModelProto) -> Shapes:
    """The shape of every value that shape inference finds."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {weight.name: tuple(weight.dims) for weight in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        shapes[value.name] = tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
    return shapes


def _macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type not in {"Conv", "ConvTranspose", "Gemm", "MatMul"}:
        return 0
    left, right, out = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    match node.op_type:
        case "Conv":  # weights (out, in / groups, *kernel); out (N, out, *space)
            return math.prod(out) * math.prod(right[1:])
        case "ConvTranspose":  # weights (in, out / groups, *kernel); left (N, in, *space)
            return math.prod(left) * math.prod(right[1:])
        case "Gemm":
            is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
            return math.prod(out) * (left[0] if is_transposed else left[1])
        case _:
            return math.prod(out) * (left[-1] if left else 0)


def _parameters(graph: onnx.GraphProto) -> int:
    import onnx

    numbers = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
    weights = {weight.name: weight for weight in graph.initializer}
    held: set[str] = set()
    for node in graph.node:
        if node.op_type in _QUANTIZERS:
            held.update(node.input[:1])
        else:
            held.update(name for name in node.input if name in weights and weights[name].data_type in numbers)
    return sum(math.prod(weights[name].dims) for name in held if name in weights and weights[name].dims)
