"""New tensors, buffers and conversions in a TFLite model; versions are set and what nothing names is dropped later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .graph import Model, text

if TYPE_CHECKING:
    import numpy as np


def add_buffer(model: Model, values: np.ndarray) -> int:
    """The place of a new buffer with the values; buffers may be shared, so that none is written over."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model.buffers.append(schema.BufferT(np.frombuffer(values.tobytes(), np.uint8)))
    return len(model.buffers) - 1


def add_float_twin(model: Model, index: int, suffix: str) -> int:
    """The place of a new float32 tensor of the main graph that takes the name and the shape of the one at `index`.

    That one is called as before with `suffix` behind.
    """
    from ai_edge_litert import schema_py_generated as schema

    tensors = model.subgraphs[0].tensors
    entry, floats = tensors[index], schema.TensorT()
    floats.shape, floats.shapeSignature, floats.hasRank = entry.shape, entry.shapeSignature, entry.hasRank
    floats.type, floats.buffer = schema.TensorType.FLOAT32, 0
    floats.name, entry.name = entry.name, f"{text(entry.name)}{suffix}"
    tensors.append(floats)
    return len(tensors) - 1


def conversion(model: Model, name: Literal["QUANTIZE", "DEQUANTIZE"], source: int, result: int) -> Any:
    """A new operator, in no graph yet, that converts the tensor `source` to `result`."""
    from ai_edge_litert import schema_py_generated as schema

    code, step = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 1
    model.operatorCodes.append(code)
    step.opcodeIndex = len(model.operatorCodes) - 1
    step.inputs, step.outputs = [source], [result]
    options = "QuantizeOptions" if name == "QUANTIZE" else "DequantizeOptions"
    step.builtinOptionsType = getattr(schema.BuiltinOptions, options)
    step.builtinOptions = getattr(schema, f"{options}T")()
    return step
