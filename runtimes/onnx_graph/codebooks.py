"""Weights that take few values lie in the file as indices and a codebook.

ONNX has no operator that computes with a codebook, but Gather makes weights of it; onnxruntime folds what is computed
of constants alone when it loads a model
(https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html), so that it then runs the very
network that it would have run of plain weights. Indices of four bits want operator set 21
(https://onnx.ai/onnx/technical/int4.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx_ir

_FOUR_BITS_SINCE = 21
_CHANGED_SINCE_18 = frozenset({"GroupNormalization"})
"""Operators that mean something else in set 21 than in 18 (https://onnx.ai/onnx/operators/); others take more types."""
_SHORT_LIST = 16
_OWN_BYTES = 300
"""What two nodes, two tensors and their names take in a file, about."""


def store_codebooks(model: onnx_ir.Model) -> tuple[str, ...]:
    """Every weight tensor that becomes smaller by it is an index and a codebook; the tensors' names.

    A weight has two axes and more; floats and integers are taken, by their bytes.
    """
    has_four_bits = _can_have_four_bits(model)
    stored = []
    for name, value in list(model.graph.initializers.items()):
        if value.const_value is None or len(value.const_value.shape) < 2:
            continue
        weights = value.const_value.numpy()
        if weights.dtype.kind not in "fi" or weights.dtype.itemsize > 4:
            continue
        values, index = _codebook(weights)
        bits = _bits(len(values), has_four_bits)
        if bits and values.nbytes + index.size * bits // 8 + _OWN_BYTES < weights.nbytes:
            _store(model, name, values, index, bits)
            stored.append(name)
    if stored and has_four_bits:
        model.graph.opset_imports[""] = max(_FOUR_BITS_SINCE, model.graph.opset_imports[""])
        model.ir_version = max(model.ir_version, 10)
    return tuple(stored)


def _codebook(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bit patterns that occur (K,), as values, and which of them each weight is; zeros of both signs are two."""
    import numpy as np

    patterns, index = np.unique(weights.view(f"u{weights.dtype.itemsize}"), return_inverse=True)
    return patterns.view(weights.dtype), index.reshape(weights.shape)


def _bits(count: int, has_four_bits: bool) -> int:
    """How many bits an index of so many values has; 0 where there are too many."""
    if count <= _SHORT_LIST and has_four_bits:
        return 4
    return 8 if count <= 1 << 8 else 16 if count <= 1 << 16 else 0


def _can_have_four_bits(model: onnx_ir.Model) -> bool:
    return not any(node.op_type in _CHANGED_SINCE_18 for node in model.graph.all_nodes())


def _store(model: onnx_ir.Model, name: str, values: np.ndarray, index: np.ndarray, bits: int) -> None:
    """The initializer of that name is what a Gather makes of an index and a codebook, and keeps its readers."""
    import onnx_ir
    from onnx_ir import convenience

    graph, old = model.graph, model.graph.initializers[name]
    kind = {4: onnx_ir.DataType.UINT4, 8: onnx_ir.DataType.UINT8, 16: onnx_ir.DataType.UINT16}[bits]
    book = _constant(graph, f"{name}_codebook", values, onnx_ir.DataType.from_numpy(values.dtype))
    places = _constant(graph, f"{name}_index", index.astype(kind.numpy()), kind)
    cast = onnx_ir.node("Cast", [places], {"to": onnx_ir.DataType.INT32}, name=f"{name}_read")
    gather = onnx_ir.node("Gather", [book, cast.outputs[0]], name=f"{name}_decoded")
    for node, form in ((cast, onnx_ir.TensorType(onnx_ir.DataType.INT32)), (gather, book.type)):
        (output,) = node.outputs
        output.name, output.shape, output.type = node.name, old.shape, form
    convenience.replace_all_uses_with(old, gather.outputs[0])
    graph.initializers.pop(name)
    graph.insert_before(graph[0], [cast, gather])


def _constant(graph: onnx_ir.Graph, name: str, array: np.ndarray, kind: onnx_ir.DataType) -> onnx_ir.Value:
    import onnx_ir

    tensor = onnx_ir.Tensor(array, dtype=kind, name=name)
    value = onnx_ir.Value(name=name, const_value=tensor)
    value.shape, value.type = tensor.shape, onnx_ir.TensorType(kind)
    graph.register_initializer(value)
    return value
