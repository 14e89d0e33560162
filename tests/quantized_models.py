"""ONNX models of one convolution, quantized as TensorRT wants it or in one of the ways that go wrong there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ZERO = np.int8(0)


def convolution(
    path: Path,
    axis: int = 0,
    zero_point: Any = ZERO,
    scale: float = 0.05,
    has_int32_bias: bool = False,
    quantizes_input: bool = True,
    quantizes_weights: bool = True,
    batch: int | str = 1,
) -> Path:
    """A convolution `conv` of 32 channels and a ReLU behind it, quantized in the way that is asked for."""
    constants = {"x_scale": np.float32(scale), "x_zero": zero_point, "bias": np.zeros(32, np.float32)}
    weights = np.random.default_rng(0).integers(-127, 128, (32, 32, 3, 3)).astype(np.int8)
    constants |= {"codes": weights, "scales": np.full(32, 0.01, np.float32), "zeros": np.zeros(32, np.int8)}
    nodes = []
    read, weight, bias = "image", "weight", "bias"
    if quantizes_input:
        nodes += [
            helper.make_node("QuantizeLinear", ["image", "x_scale", "x_zero"], ["x_codes"], name="quantize"),
            helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["x"], name="dequantize"),
        ]
        read = "x"
    if quantizes_weights:
        nodes.append(helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], [weight], axis=axis))
    else:
        constants[weight] = (weights * 0.01).astype(np.float32)
    if has_int32_bias:
        constants |= {"integers": np.zeros(32, np.int32), "steps": np.full(32, 5e-4, np.float32)}
        nodes.append(helper.make_node("DequantizeLinear", ["integers", "steps"], ["b"], axis=0, name="bias_codes"))
        bias = "b"
    nodes.append(helper.make_node("Conv", [read, weight, bias], ["y"], pads=[1] * 4, name="conv"))
    nodes.append(helper.make_node("Relu", ["y"], ["output"], name="relu"))
    used = {name for node in nodes for name in node.input}
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 32, 16, 16]) for name in ("image", "output")]
    graph = helper.make_graph(nodes, "variant", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.save(model, path)
    return path
