"""Tiny TFLite models, put together from the schema's objects; the fixture `tflite_models` loads this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

IN_SCALE, IN_ZERO = 0.05, -3
WEIGHT_SCALES = (0.01, 0.02, 0.015, 0.005)
OUT_SCALE, OUT_ZERO = 0.25, 7


class Value(NamedTuple):
    """A tensor by name; `data` makes it a constant, `scales` quantize it."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    data: np.ndarray | None = None


class Step(NamedTuple):
    """An operator by the schema's name, its tensors by theirs; an empty name is an input left out."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Any = None
    version: int = 1
    custom: str = ""


def build(values: Sequence[Value], steps: Sequence[Step], inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The model of one graph with a signature, as converters write it."""
    model = schema.ModelT(version=3, description="", buffers=[schema.BufferT()], operatorCodes=[], metadata=[])
    place = {value.name: index for index, value in enumerate(values)}
    graph = schema.SubGraphT([_tensor(model, value) for value in values], name="main")
    graph.inputs, graph.outputs = [place[name] for name in inputs], [place[name] for name in outputs]
    graph.operators = [_operator(model, step, {**place, "": -1}) for step in steps]
    maps = [[schema.TensorMapT(f"old_{name}", place[name]) for name in names] for names in (inputs, outputs)]
    model.signatureDefs = [schema.SignatureDefT(*maps, "serving_default", 0)]
    model.subgraphs = [graph]
    return model


def convolution(boundary: str = "float", extra: Sequence[Step] = (), more: Sequence[Value] = ()) -> Any:
    """(1, 4, 4, 2) to (1, 4, 4, 4): one int8 CONV_2D with per-channel weights, a bias and a ReLU.

    `boundary`: float has a QUANTIZE before it and a DEQUANTIZE behind it, int8 has not. `extra` and `more` are added.
    """
    weights = np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 2), np.int8)
    bias = np.array([100, -200, 50, 0], np.int32)
    bias_scales = tuple(IN_SCALE * scale for scale in WEIGHT_SCALES)
    values = [
        Value("codes", (1, 4, 4, 2), "int8", (IN_SCALE,), (IN_ZERO,)),
        Value("weights", weights.shape, "int8", WEIGHT_SCALES, (0,) * 4, 0, weights),
        Value("bias", bias.shape, "int32", bias_scales, (0,) * 4, 0, bias),
        Value("layer;convolution", (1, 4, 4, 4), "int8", (OUT_SCALE,), (OUT_ZERO,)),
    ]
    steps = [Step("CONV_2D", ("codes", "weights", "bias"), ("layer;convolution",), convolution_options(), 3)]
    if boundary == "int8":
        return build([*values, *more], [*steps, *extra], ["codes"], ["layer;convolution"])
    floats = [Value("image", (1, 4, 4, 2)), Value("scores", (1, 4, 4, 4))]
    before, after = Step("QUANTIZE", ("image",), ("codes",)), Step("DEQUANTIZE", ("layer;convolution",), ("scores",))
    outputs = ["scores", *(name for step in extra for name in step.outputs)]
    return build([*values, *floats, *more], [before, *steps, after, *extra], ["image"], outputs)


def convolution_options(stride: int = 1, activation: str = "RELU", is_padded: bool = True) -> Any:
    return schema.Conv2DOptionsT(
        padding=schema.Padding.SAME if is_padded else schema.Padding.VALID,
        strideH=stride,
        strideW=stride,
        fusedActivationFunction=vars(schema.ActivationFunctionType)[activation],
        dilationHFactor=1,
        dilationWFactor=1,
    )


def run(content: bytes, *arrays: np.ndarray) -> list[np.ndarray]:
    """Each output of the file in ai-edge-litert's interpreter."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


def _tensor(model: Any, value: Value) -> Any:
    place = 0
    if value.data is not None:
        model.buffers.append(schema.BufferT(np.frombuffer(value.data.tobytes(), np.uint8)))
        place = len(model.buffers) - 1
    quantization = None
    if value.scales:
        zero_points = np.array(value.zero_points, np.int64)
        quantization = schema.QuantizationParametersT(None, None, np.array(value.scales, np.float32), zero_points)
        quantization.quantizedDimension = value.axis
    kind = vars(schema.TensorType)[value.dtype.upper()]
    return schema.TensorT(np.array(value.shape, np.int32), kind, place, value.name, quantization)


def _operator(model: Any, step: Step, place: dict[str, int]) -> Any:
    number = vars(schema.BuiltinOperator)["CUSTOM" if step.custom else step.name]
    code = schema.OperatorCodeT(min(number, 127), step.custom or None, step.version, number)
    same = [index for index, entry in enumerate(model.operatorCodes) if vars(entry) == vars(code)]
    if not same:
        model.operatorCodes.append(code)
    operator = schema.OperatorT(same[0] if same else len(model.operatorCodes) - 1)
    operator.inputs, operator.outputs = [place[name] for name in step.inputs], [place[name] for name in step.outputs]
    if step.options is not None:
        operator.builtinOptions = step.options
        name = type(step.options).__name__.removesuffix("T")
        operator.builtinOptionsType = vars(schema.BuiltinOptions)[name]
    return operator
