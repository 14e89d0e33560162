"""Weights that are stored in fewer bits than they are computed with, in operators that onnxruntime is fast at.

Int8 and float16 weights become floats by a Cast and a Mul of constants alone, which onnxruntime computes once, when it
loads the model; DequantizeLinear, which says the same, it would compute with every inference
(https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html). Weights of groups are read by
its MatMulNBits, and layers that quantize their inputs while they run are said as its fusion to DynamicQuantizeMatMul
wants them (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

    from ...ir.state import ModelState

_CONTRIB = "com.microsoft"
_LEAST_HALVES = 64
"""Values of a tensor from which on float16 saves more than the node that reads it takes."""


def without_dynamic_nodes(state: ModelState) -> ModelState:
    """The state without nodes that fit a grid to a tensor while it runs: ONNX has one operator for the three."""
    from ...ir.graph import editable, lifted

    if state.attachments.get("stored_weights", {}).get("mode") != "dynamic":
        return state
    module = editable(state.exported_program())
    for node in list(module.graph.nodes):
        if str(node.target) == "quantized_decomposed.dequantize_per_tensor.tensor":
            node.replace_all_uses_with(node.args[0].args[0])
    return replace(state, program=lifted(module, state.exported_program()))


def rewrite(model: onnx_ir.Model, state: ModelState) -> bool:
    """The model, as it was exported of the state, holds weights as the state wants them; whether that changed it."""
    stored = state.attachments.get("stored_weights")
    if stored is not None and stored["mode"] == "dynamic":
        quantize_while_running(model)
    elif stored is not None and stored["group"]:
        multiply_groups(model, dict.fromkeys(stored["layers"], stored["group"]))
    elif stored is not None:
        decode_at_load(model)
    is_halved = "halved" in state.attachments
    if is_halved:
        store_halves(model)
    return stored is not None or is_halved


def decode_at_load(model: onnx_ir.Model) -> None:
    """Dequantized constants are what a Cast and a Mul make of them."""
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or _constant(node.inputs[0]) is None:
            continue
        integers, scales = _array(node.inputs[0]), _array(node.inputs[1])
        axis = node.attributes.get_int("axis", 1)
        along = [-1 if index == axis else 1 for index in range(integers.ndim)]
        name = node.outputs[0].name or node.name
        scale = _stored(model, f"{name}_scales", scales.reshape(along) if scales.ndim else scales)
        cast = _node("Cast", [node.inputs[0]], f"{name}_cast", to=1)
        product = _node("Mul", [cast.outputs[0], scale], f"{name}_decoded")
        _replace(model, node, [cast, product])


def store_halves(model: onnx_ir.Model) -> None:
    """Float tensors whose values float16 holds lie in the file as such."""
    import numpy as np
    from onnx_ir import convenience

    for name, value in list(model.graph.initializers.items()):
        if value.const_value is None:
            continue
        floats = value.const_value.numpy()
        halves = floats.astype(np.float16) if floats.dtype == np.float32 else None
        if halves is None or floats.size < _LEAST_HALVES or not np.array_equal(halves.astype(np.float32), floats):
            continue
        cast = _node("Cast", [_stored(model, f"{name}_in_float16", halves)], f"{name}_read", to=1)
        (output,) = cast.outputs
        output.shape, output.type = value.shape, value.type
        convenience.replace_all_uses_with(value, output)
        model.graph.initializers.pop(name)
        model.graph.insert_before(model.graph[0], cast)


def quantize_while_running(model: onnx_ir.Model) -> None:
    """Layers with dequantized weights multiply integers: their own, and what a grid for each input makes of it."""
    inputs: dict[str, onnx_ir.Node] = {}
    for layer in list(model.graph):
        found = _integer_weights(layer)
        if found is None:
            continue
        integers, scales = found
        name: str = layer.name or str(layer.outputs[0].name)
        source: Any = layer.inputs[0]
        quantize = inputs.get(source.name)
        fresh = []
        if quantize is None:
            quantize = _node("DynamicQuantizeLinear", [source], f"{name}_input", outputs=3)
            inputs[source.name] = quantize
            fresh.append(quantize)
        values, scale, zero_point = quantize.outputs
        weight = _stored(model, f"{name}_integers", integers)
        product = _node("MatMulInteger", [values, weight, zero_point], name)
        cast = _node("Cast", [product.outputs[0]], f"{name}_cast", to=1)
        both = _node("Mul", [scale, _stored(model, f"{name}_scales", scales)], f"{name}_scale")
        scaled = _node("Mul", [cast.outputs[0], both.outputs[0]], f"{name}_scaled")
        fresh += [product, cast, both, scaled, *_biased(layer, scaled, name)]
        _replace(model, layer, fresh)


def multiply_groups(model: onnx_ir.Model, groups: Mapping[str, int]) -> None:
    """Layers of these names, whose weights lie on grids of four bits for each group of inputs, are MatMulNBits."""
    import numpy as np

    for layer in list(model.graph):
        size = groups.get(str(layer.name))
        weight = None if size is None else _float_weights(layer)
        if size is None or weight is None:
            continue
        inputs, outputs = weight.shape
        parts = weight.T.reshape(outputs, inputs // size, size)
        scales = np.abs(parts).max(-1) / np.float32(7)
        scales[scales == 0] = 1
        stored = (np.rint(parts / scales[..., None]) + 8).astype(np.uint8)
        packed = stored[..., 0::2] | stored[..., 1::2] << 4
        name = str(layer.name)
        form = {"K": inputs, "N": outputs, "bits": 4, "block_size": size}
        parts_of = [_stored(model, f"{name}_integers", packed), _stored(model, f"{name}_scales", scales.reshape(-1))]
        product = _node("MatMulNBits", [layer.inputs[0], *parts_of], name, domain=_CONTRIB, **form)
        _replace(model, layer, [product, *_biased(layer, product, name)])
        model.graph.opset_imports[_CONTRIB] = 1


def _float_weights(layer: onnx_ir.Node) -> np.ndarray | None:
    """(inputs, outputs) of a matrix product with constant weights."""
    value = _constant(layer.inputs[1]) if layer.op_type in ("Gemm", "MatMul") and len(layer.inputs) > 1 else None
    if value is None:
        return None
    weight = _array(layer.inputs[1])
    return weight.T if layer.attributes.get_int("transB", 0) else weight


def _integer_weights(layer: onnx_ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Integers (inputs, outputs) and scales (outputs,) of a matrix product that reads dequantized constants."""
    import numpy as np

    if layer.op_type not in ("Gemm", "MatMul") or layer.inputs[1] is None:
        return None
    is_turned = bool(layer.attributes.get_int("transB", 0))
    maker = layer.inputs[1].producer()
    if maker is not None and maker.op_type == "Transpose":
        is_turned, maker = not is_turned, maker.inputs[0].producer()  # type: ignore[union-attr]
    if maker is None or maker.op_type != "DequantizeLinear" or _constant(maker.inputs[0]) is None:
        return None
    integers, scales = _array(maker.inputs[0]), _array(maker.inputs[1])
    integers = np.ascontiguousarray(integers.T) if is_turned else integers
    return integers, np.broadcast_to(scales, integers.shape[1]).copy()


def _biased(layer: onnx_ir.Node, product: onnx_ir.Node, name: str) -> list[onnx_ir.Node]:
    """The sum with the layer's bias, where it has one of its own."""
    if layer.op_type != "Gemm" or len(layer.inputs) < 3 or layer.inputs[2] is None:
        return []
    return [_node("Add", [product.outputs[0], layer.inputs[2]], f"{name}_biased")]


def _replace(model: onnx_ir.Model, node: onnx_ir.Node, fresh: list[onnx_ir.Node]) -> None:
    """The last of the fresh nodes gives what the node gave, under its name; what only the node read is gone."""
    from onnx_ir import convenience
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    (old,), (new,) = node.outputs, fresh[-1].outputs
    new.name, new.shape, new.type = old.name, old.shape, old.type
    convenience.replace_nodes_and_values(model.graph, node, [node], fresh, [old], [new])
    RemoveUnusedNodesPass()(model)


def _node(
    kind: str, inputs: list[Any], name: str, outputs: int = 1, domain: str = "", **attributes: Any
) -> onnx_ir.Node:
    import onnx_ir

    node = onnx_ir.node(kind, inputs, attributes, domain=domain, num_outputs=outputs, name=name)
    for number, output in enumerate(node.outputs):
        output.name = f"{name}_value" if outputs == 1 else f"{name}_value_{number}"
    return node


def _stored(model: onnx_ir.Model, name: str, array: np.ndarray) -> onnx_ir.Value:
    import numpy as np
    import onnx_ir

    array = np.ascontiguousarray(array)
    tensor = onnx_ir.tensor(array, name=name)
    value = onnx_ir.Value(name=name, const_value=tensor)
    value.shape, value.type = onnx_ir.Shape(array.shape), onnx_ir.TensorType(tensor.dtype)
    model.graph.register_initializer(value)
    return value


def _constant(value: onnx_ir.Value | None) -> Any:
    return None if value is None else value.const_value


def _array(value: onnx_ir.Value | None) -> np.ndarray:
    array: np.ndarray = _constant(value).numpy()
    return array
