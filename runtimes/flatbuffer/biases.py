"""Biases of layers that read int16: 64 bits, as their kernels add them."""

from __future__ import annotations

from .graph import Model, operators
from .insertion import add_buffer

_WITH_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
"""The input that is the bias, by operator."""
_READS = {"TRANSPOSE_CONV": 2}
"""The input that is read, where that is not the first."""


def widen_biases(model: Model) -> None:
    """Integer biases beside int16 activations are int64; litert-torch leaves them in int32. Changes the model.

    The kernels read them so without asking (https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/kernels/
    internal/reference/integer_ops/conv.h, "int16_t input data, int8_t filter data, AccumScalar bias data").
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    for operator in operators(model):
        at = _WITH_BIAS.get(operator.name)
        if at is None or at >= len(operator.inputs):
            continue
        read, bias = operator.inputs[_READS.get(operator.name, 0)], operator.inputs[at]
        if read is None or bias is None or read.dtype != "int16":
            continue
        entry = model.subgraphs[operator.subgraph].tensors[bias.index]
        if entry.type == schema.TensorType.INT32:
            entry.buffer = add_buffer(model, bias.values().astype(np.int64))
            entry.type = schema.TensorType.INT64
