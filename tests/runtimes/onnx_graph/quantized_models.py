"""Small quantized ONNX models, right and broken, as the tests of what reads them want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 32
_PER_CHANNEL = np.full(CHANNELS, 0.01)
_ZERO = np.int8(0)


class Builder:
    """Nodes and stored tensors on their way to a model with the input x and the output y."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []

    def store(self, name: str, values: Any) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **{"name": output, **attributes}))
        return output

    def form(self, name: str, scale: Any, zero_point: Any, is_float8: bool = False) -> list[str]:
        scale = np.asarray(scale, np.float32)
        parts = [self.store(f"{name}_scale", scale)]
        if is_float8:
            zeros = [0.0] * scale.size
            self.stored.append(helper.make_tensor(f"{name}_zero", TensorProto.FLOAT8E4M3FN, scale.shape, zeros))
            return [*parts, f"{name}_zero"]
        if zero_point is None:
            return parts
        return [*parts, self.store(f"{name}_zero", np.broadcast_to(np.asarray(zero_point), scale.shape).copy())]

    def rounded(
        self, value: str, name: str, scale: Any = 0.05, zero_point: Any = _ZERO, float8: bool = False, **axis: int
    ) -> str:
        """A quantize and a dequantize node behind `value`; returns what comes out."""
        form = self.form(name, scale, zero_point, float8)
        self.node("QuantizeLinear", [value, *form], f"{name}_integers", **axis)
        return self.node("DequantizeLinear", [f"{name}_integers", *form], f"{name}_rounded", **axis)

    def weights(self, name: str, values: Any, scale: Any = _PER_CHANNEL, zero_point: Any = _ZERO, axis: int = 0) -> str:
        """Stored integers behind a dequantize node; returns what comes out."""
        form = self.form(name, scale, zero_point)
        where = {"axis": axis} if np.ndim(scale) else {}
        return self.node("DequantizeLinear", [self.store(name, values), *form], f"{name}_rounded", **where)

    def model(self, shape: Sequence[int], opset: int = 19) -> onnx.ModelProto:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "graph", [given], [made], self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def integers(*shape: int, dtype: Any = np.int8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(-100, 101, shape).astype(dtype)


def convolution(
    inputs: dict[str, Any] | None = None,
    weights: dict[str, Any] | None = None,
    *,
    kind: str = "Conv",
    bias: str = "float32",
    opset: int = 19,
    float8_weights: bool = False,
) -> onnx.ModelProto:
    """One layer "conv3" (C, C, 3, 3) and a ReLU; `inputs` and `weights`: how each is quantized, None for not at all."""
    builder, values = Builder(), integers(CHANNELS, CHANNELS, 3, 3)
    given = "x" if inputs is None else builder.rounded("x", "given", **inputs)
    if float8_weights:
        stored = builder.rounded(builder.store("w", values.astype(np.float32)), "kept", float8=True)
    elif weights is None:
        stored = builder.store("w", values.astype(np.float32) * np.float32(0.01))
    else:
        stored = builder.weights("w", values, **weights)
    if bias == "int32":
        added = builder.weights("b", np.zeros(CHANNELS, np.int32), zero_point=np.int32(0))
    else:
        added = builder.store("b", np.zeros(CHANNELS, np.float32))
    builder.node(kind, [given, stored, added], "sum", name="conv3", pads=[1] * 4)
    builder.node("Relu", ["sum"], "y")
    return builder.model([1, CHANNELS, 8, 8], opset)


def product(
    kind: str, outputs: int = 64, *, axis: int = 0, transposed: bool = False, behind: bool = False
) -> onnx.ModelProto:
    """One layer "fc" of 48 inputs; its weights lie (outputs, inputs) where `transposed`, or `behind` a Transpose."""
    builder = Builder()
    values = integers(outputs, 48) if transposed or behind else integers(48, outputs)
    stored = builder.weights("w", values, np.full(values.shape[axis], 0.01), axis=axis)
    if behind:
        stored = builder.node("Transpose", [stored], "turned", perm=[1, 0])
    options = {"transB": int(transposed)} if kind == "Gemm" else {}
    builder.node(kind, [builder.rounded("x", "given"), stored], "y", name="fc", **options)
    return builder.model([16, 48])


def block(residual: str = "rounded", *, early: bool = False) -> onnx.ModelProto:
    """A convolution "conv3", a sum with its input (float, or as the convolution reads it), a ReLU and "conv4".

    `early`: the convolution's output is quantized before anything else is done.
    """
    builder = Builder()
    given = builder.rounded("x", "given")
    first = builder.weights("w", integers(CHANNELS, CHANNELS, 3, 3))
    value = builder.node("Conv", [given, first], "c3", name="conv3", pads=[1] * 4)
    if early:
        value = builder.rounded(value, "early")
    else:
        value = builder.node("Add", [value, given if residual == "rounded" else "x"], "total", name="add")
    value = builder.rounded(builder.node("Relu", [value], "positive"), "second")
    second = builder.weights("w2", integers(CHANNELS, CHANNELS, 3, 3))
    builder.node("Conv", [value, second], "y", name="conv4", pads=[1] * 4)
    return builder.model([1, CHANNELS, 8, 8])


def moved(kind: str) -> onnx.ModelProto:
    """A convolution whose input goes from its dequantize node through an operator that only moves values."""
    builder = Builder()
    given = builder.rounded("x", "given")
    if kind == "MaxPool":
        given = builder.node("MaxPool", [given], "pooled", kernel_shape=[2, 2])
    else:
        given = builder.node("Pad", [given, builder.store("sizes", np.array([0, 0, 1, 1] * 2))], "padded")
    builder.node("Conv", [given, builder.weights("w", integers(CHANNELS, CHANNELS, 3, 3))], "y", name="conv3")
    return builder.model([1, CHANNELS, 8, 8])


def of_integer_operators(kind: str) -> onnx.ModelProto:
    """A model of the operators that compute on integers themselves."""
    builder, values = Builder(), integers(CHANNELS, CHANNELS, 3, 3)
    scale, zero = builder.store("s", np.float32(0.05)), builder.store("z", np.int8(0))
    builder.store("w", values)
    if kind == "QLinearConv":
        builder.node("QuantizeLinear", ["x", scale, zero], "q")
        builder.node("QLinearConv", ["q", scale, zero, "w", scale, zero, scale, zero], "c", name="conv3")
        builder.node("DequantizeLinear", ["c", scale, zero], "y")
    else:
        made = ["q", "scale", "zero"]
        builder.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], made, name="dynamic"))
        builder.node("ConvInteger", ["q", "w", "zero", zero], "c", name="conv3")
        builder.node("Cast", ["c"], "y", to=TensorProto.FLOAT)
    return builder.model([1, CHANNELS, 8, 8])


def of_bfloat16() -> onnx.ModelProto:
    """One convolution in bfloat16 between casts."""
    builder = Builder()
    shape = [CHANNELS, CHANNELS, 3, 3]
    builder.stored.append(helper.make_tensor("w", TensorProto.BFLOAT16, shape, [0.01] * int(np.prod(shape))))
    builder.node("Cast", ["x"], "small", to=TensorProto.BFLOAT16)
    builder.node("Conv", ["small", "w"], "c", name="conv3", pads=[1] * 4)
    builder.node("Cast", ["c"], "y", to=TensorProto.FLOAT)
    return builder.model([1, CHANNELS, 8, 8])


def with_computed_scale(where: str = "both") -> onnx.ModelProto:
    """A convolution whose input has the scale that its largest value asks for; the quantize node alone, or the other.

    Where `where` is "constant", the scale is computed of a stored value; where it is "weights", theirs are.
    """
    builder = Builder()
    if where == "weights":
        given = builder.rounded("x", "given")
        builder.node("ReduceMax", ["x"], "largest", keepdims=0)
        builder.node("Mul", ["largest", builder.store("each", _PER_CHANNEL.astype(np.float32))], "scale")
        kept = [builder.store("w", integers(CHANNELS, CHANNELS, 3, 3)), "scale"]
        kept.append(builder.store("zero", np.zeros(CHANNELS, np.int8)))
        builder.node("Conv", [given, builder.node("DequantizeLinear", kept, "stored", axis=0)], "y", name="conv3")
        return builder.model([1, CHANNELS, 8, 8])
    largest = builder.store("six", np.float32(6)) if where == "constant" else "largest"
    if where != "constant":
        builder.node("ReduceMax", ["x"], largest, keepdims=0)
    builder.node("Div", [largest, builder.store("steps", np.float32(127))], "scale")
    zero, stored = builder.store("zero", np.int8(0)), builder.store("stored", np.float32(0.05))
    builder.node("QuantizeLinear", ["x", stored if where == "dequantize" else "scale", zero], "q")
    builder.node("DequantizeLinear", ["q", stored if where == "quantize" else "scale", zero], "given")
    builder.node(
        "Conv", ["given", builder.weights("w", integers(CHANNELS, CHANNELS, 3, 3))], "y", name="conv3", pads=[1] * 4
    )
    return builder.model([1, CHANNELS, 8, 8])
