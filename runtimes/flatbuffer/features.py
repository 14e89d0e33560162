"""What each version of a TFLite operator brought.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc
(03f49db5), for the operators that convolutional networks, transformers and recurrent cells become. Where it asks for
int16 weights beside int16 activations, and says 1 of int8 weights, the version that brought int16 is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .graph import Operator, Tensor

Feature: TypeAlias = Callable[[Operator], bool]
"""Whether an operator uses something."""


def _type_is(*dtypes: str, at: int = 0) -> Feature:
    """Whether the input at a place is of one of the types."""

    def feature(operator: Operator) -> bool:
        tensor = _input(operator, at)
        return tensor is not None and tensor.dtype in dtypes

    return feature


def _input(operator: Operator, place: int) -> Tensor | None:
    return operator.inputs[place] if place < len(operator.inputs) else None


def _output_is(*dtypes: str) -> Feature:
    return lambda operator: operator.outputs[0].dtype in dtypes


def _says(option: str) -> Feature:
    """Whether an option is set to anything but zero."""
    return lambda operator: bool(_option(operator, option))


def _option(operator: Operator, name: str) -> Any:
    return None if operator.options is None else vars(operator.options).get(name)


def _all(*features: Feature) -> Feature:
    return lambda operator: all(feature(operator) for feature in features)


def _has_more_axes_than(axes: int) -> Feature:
    return lambda operator: len(operator.present[0].shape) > axes


def _has_other_axes_than(axes: int) -> Feature:
    return lambda operator: len(operator.present[0].shape) != axes


def _meets(*dtypes: str) -> Feature:
    """Whether the input or the output is of one of the types."""
    return lambda operator: bool({operator.present[0].dtype, operator.outputs[0].dtype}.intersection(dtypes))


def _is_no_bool(operator: Operator) -> bool:
    return operator.present[0].dtype != "bool"


def _is_first_per_channel(operator: Operator) -> bool:
    return len(operator.present[0].scales) > 1


def _is_output_per_channel(operator: Operator) -> bool:
    return len(operator.outputs[0].scales) > 1


def _is_per_channel(operator: Operator) -> bool:
    weights = _input(operator, 1)
    return weights is not None and len(weights.scales) > 1


def _is_grouped(operator: Operator) -> bool:
    """Weights are (out, height, width, in / groups)."""
    values, weights = operator.present[:2]
    return values.shape[-1] != weights.shape[-1]


def _is_dilated(operator: Operator) -> bool:
    return any(_option(operator, name) not in (None, 1) for name in ("dilationWFactor", "dilationHFactor"))


def _is_spread_over_many_axes(operator: Operator) -> bool:
    left, right = operator.present[:2]
    return left.shape != right.shape and max(len(left.shape), len(right.shape)) > 4


def _grows(operator: Operator) -> bool:
    """Whether a product's rescaling is by 1 or more."""
    scales = [tensor.scales[0] for tensor in (*operator.present[:2], operator.outputs[0]) if tensor.scales]
    return len(scales) == 3 and scales[0] * scales[1] / scales[2] >= 1


def _lacks_a_bias(operator: Operator) -> bool:
    """The third input is not even named; one that is left out (-1) was always allowed."""
    return len(operator.inputs) == 2


def _is_not_quantized(operator: Operator) -> bool:
    return not operator.present[0].scales


_INT8, _INT16, _WIDE = _type_is("int8"), _type_is("int16"), _type_is("int64")
_HYBRID = _all(_type_is("float32"), _type_is("int8", at=1), _output_is("float32"))
"""Float activations and int8 weights: dynamic-range quantization."""
_USUAL = ((2, _INT8), (3, _INT16))
_BYTES = ((2, _INT8),)

FEATURES: dict[str, tuple[tuple[int, Feature], ...]] = {
    **dict.fromkeys(
        ("AVERAGE_POOL_2D", "MAX_POOL_2D", "SOFTMAX", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "RELU6", "RSQRT", "TANH"),
        _USUAL,
    ),
    **dict.fromkeys(("LOGISTIC", "MIRROR_PAD", "LESS", "GREATER_EQUAL", "RELU"), _USUAL),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "SUM", "LOG_SOFTMAX", "GREATER", "LESS_EQUAL"), _BYTES),
    **dict.fromkeys(("SQUARED_DIFFERENCE", "ARG_MAX", "ARG_MIN", "L2_NORMALIZATION", "SPLIT_V"), _BYTES),
    **dict.fromkeys(("EXP", "LOG", "SQRT"), ((2, _INT8), (2, _INT16))),
    "RELU": (*_USUAL, (2, _type_is("uint8"))),
    "GELU": ((2, _type_is("int8", "uint8")),),
    "LEAKY_RELU": ((2, _INT16),),
    "CONV_2D": (
        (2, _HYBRID),
        (3, _INT8),
        (4, _INT16),
        (5, _all(_HYBRID, _is_per_channel)),
        (6, _is_grouped),
        (7, _type_is("int4", at=1)),
        (8, _says("quantizedBiasType")),
    ),
    "DEPTHWISE_CONV_2D": (
        (2, _is_dilated),
        (3, _INT8),
        (4, _HYBRID),
        (5, _INT16),
        (6, _all(_HYBRID, _is_per_channel)),
        (7, _type_is("int4", at=1)),
    ),
    "FULLY_CONNECTED": (
        (2, _says("weightsFormat")),
        (3, _HYBRID),
        (4, _INT8),
        (5, _says("keepNumDims")),
        (6, _lacks_a_bias),
        (7, _INT16),
        (9, _all(_HYBRID, _says("asymmetricQuantizeInputs"))),
        (10, _type_is("int4", at=1)),
        (11, _says("quantizedBiasType")),
        (12, _all(_HYBRID, _is_per_channel)),
        (13, _all(_INT16, _type_is("int4", at=1))),
        (14, _type_is("int2", at=1)),
    ),
    "TRANSPOSE_CONV": (
        (2, _type_is("int8", at=1)),
        (3, lambda operator: _input(operator, 3) is not None),
        (4, _says("fusedActivationFunction")),
        (5, _says("quantizedBiasType")),
    ),
    "BATCH_MATMUL": ((2, _INT8), (3, _INT16), (4, _all(_HYBRID, _says("asymmetricQuantizeInputs")))),
    "ADD": (
        (2, _INT8),
        (3, _all(_INT16, lambda operator: _option(operator, "potScaleInt16") is False)),
        (4, _WIDE),
        (5, _all(_INT16, _is_not_quantized)),
        (6, _type_is("float16")),
    ),
    "SUB": (
        (2, _INT8),
        (3, _is_spread_over_many_axes),
        (4, _WIDE),
        (5, _all(_INT16, lambda operator: _option(operator, "potScaleInt16") is False)),
    ),
    "MUL": (
        (2, _INT8),
        (3, _grows),
        (4, _INT16),
        (5, _WIDE),
        (6, _type_is("complex64")),
        (7, _all(_INT16, _is_not_quantized)),
        (7, _type_is("uint32")),
        (8, _type_is("float16")),
    ),
    "DIV": ((2, _is_spread_over_many_axes),),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), ((2, _INT8), (3, _is_spread_over_many_axes), (4, _INT16))),
    **dict.fromkeys(("PAD", "PADV2"), ((2, _INT8), (3, _INT16), (4, _has_more_axes_than(4)), (5, _type_is("bool")))),
    "CONCATENATION": (*_USUAL, (4, _type_is("uint32")), (5, _type_is("int4"))),
    "PACK": (*_USUAL, (4, _type_is("uint32"))),
    "UNPACK": (
        (2, _type_is("int8", "uint8")),
        (3, _type_is("bool")),
        (4, _INT16),
        (5, _type_is("float16", "bfloat16")),
    ),
    "SPLIT": ((2, _type_is("int8", at=1)), (3, _type_is("int32", at=1)), (4, _type_is("int16", at=1))),
    "SLICE": (
        (2, _INT8),
        (3, _type_is("string")),
        (4, _INT16),
        (5, _has_more_axes_than(4)),
        (6, _type_is("uint32")),
        (7, _type_is("int4")),
    ),
    "STRIDED_SLICE": (
        (2, _INT8),
        (3, _type_is("bool")),
        (4, _has_more_axes_than(4)),
        (5, _type_is("string")),
        (6, _says("ellipsisMask")),
        (6, _says("newAxisMask")),
        (7, _type_is("uint32")),
        (8, _says("offset")),
    ),
    **dict.fromkeys(
        ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), ((2, _INT8), (3, _has_other_axes_than(4)), (4, _INT16))
    ),
    "BROADCAST_TO": ((3, _type_is("int8", "int16")),),
    "DEQUANTIZE": (
        (2, _INT8),
        (3, _type_is("int16", "float16")),
        (5, _all(_INT8, _is_first_per_channel)),
        (6, _type_is("int4")),
        (7, _type_is("int2")),
    ),
    "QUANTIZE": ((2, _output_is("int16")), (3, _is_output_per_channel), (4, _type_is("int4")), (4, _output_is("int4"))),
    "CAST": (
        (2, _meets("uint32")),
        (3, _meets("int8")),
        (4, _meets("uint16")),
        (5, _meets("float16", "float64")),
        (6, _type_is("int4")),
        (7, _meets("bfloat16")),
        (8, _meets("int2", "uint4")),
    ),
    "ABS": (
        (2, _type_is("int8", "uint8")),
        (3, _INT16),
        (4, _all(_INT16, _is_not_quantized)),
        (5, _type_is("int32")),
    ),
    "EQUAL": ((2, _INT8), (3, _type_is("string")), (5, _INT16)),
    "NOT_EQUAL": ((2, _INT8), (3, _type_is("string")), (4, _INT16)),
    "SELECT": ((2, _INT8), (3, _has_more_axes_than(4)), (4, _type_is("uint32"))),
    "SELECT_V2": ((2, _type_is("uint32")),),
    "TILE": ((2, _type_is("string")), (3, _INT8)),
    "FILL": (
        (2, _type_is("bool", "string", at=1)),
        (3, _type_is("int8", "int16", at=1)),
        (4, _type_is("float16", at=1)),
    ),
    "GATHER_ND": ((2, _type_is("string")), (3, _INT16), (4, _type_is("int16", at=1)), (5, _type_is("bool"))),
    "EMBEDDING_LOOKUP": ((4, _type_is("int4", at=1)), (4, _is_per_channel), (5, _type_is("int2", at=1))),
    "TOPK_V2": ((2, _INT8), (3, _INT16)),
    "WHERE": ((2, _is_no_bool),),
    "SQUEEZE": ((2, _type_is("string")),),
    "TRANSPOSE": (
        (2, _INT8),
        (3, _type_is("bool")),
        (4, _has_more_axes_than(4)),
        (5, _INT16),
        (6, _has_more_axes_than(5)),
        (7, _type_is("int4")),
        (8, _has_more_axes_than(6)),
        (8, _type_is("bfloat16")),
    ),
    "GATHER": (
        (2, _INT8),
        (3, _type_is("bool")),
        (4, _INT16),
        (5, _says("batchDims")),
        (6, _type_is("int16", at=1)),
        (7, _type_is("int4")),
    ),
    "RESIZE_BILINEAR": ((2, _INT8), (3, _says("halfPixelCenters")), (4, _INT16)),
    "RESIZE_NEAREST_NEIGHBOR": (
        (2, _INT8),
        (3, _says("halfPixelCenters")),
        (3, _says("alignCorners")),
        (4, _INT16),
    ),
}
"""By operator: (version, the feature that it brought); an operator without an entry has one version."""
