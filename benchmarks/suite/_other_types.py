"""An artifact's ONNX models in the types that no build writes yet: bfloat16, and FP8 in place of INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LARGEST_FP8 = 448.0
"""Of E4M3: an int8 grid's 127 steps become its range."""


def to_bfloat16(source: Path, target: Path) -> None:
    """The float16 model lies at `target`, in bfloat16; its inputs and outputs stay float32."""
    import ml_dtypes
    import onnx

    half, small = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
    model = onnx.load(source)
    attributes = [each for node in model.graph.node for each in node.attribute]
    for stored in (*model.graph.initializer, *(each.t for each in attributes)):
        if stored.data_type == half:
            _store(stored, onnx.numpy_helper.to_array(stored).astype("float32"), ml_dtypes.bfloat16)
    for attribute in attributes:
        if attribute.name == "to" and attribute.i == half:
            attribute.i = small
    del model.graph.value_info[:]
    onnx.save(model, target)


def to_fp8(source: Path, target: Path) -> None:
    """The quantized model lies at `target`, with FP8 E4M3 in place of INT8, on scales of the same ranges."""
    import ml_dtypes
    import numpy as np
    import onnx

    model = onnx.load(source)
    stored = {each.name: each for each in model.graph.initializer}
    grids = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for name in {node.input[1] for node in grids}:
        scales = onnx.numpy_helper.to_array(stored[name])
        stored[name].CopyFrom(onnx.numpy_helper.from_array((scales * (127 / LARGEST_FP8)).astype(scales.dtype), name))
    for name in {node.input[2] for node in grids}:
        _store(stored[name], np.zeros(tuple(stored[name].dims)), ml_dtypes.float8_e4m3fn)
    for name in {node.input[0] for node in grids if node.input[0] in stored}:
        values = onnx.numpy_helper.to_array(stored[name]) * (LARGEST_FP8 / 127)
        _store(stored[name], values, ml_dtypes.float8_e4m3fn)
    del model.graph.value_info[:]
    onnx.save(model, target)


def _store(tensor: Any, values: Any, dtype: Any) -> None:
    import onnx

    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(dtype), tensor.name))
