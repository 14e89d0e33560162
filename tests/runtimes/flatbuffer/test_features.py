from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.runtimes.flatbuffer.features import FEATURES
from edgewright.runtimes.flatbuffer.graph import Operator, operators
from edgewright.runtimes.flatbuffer.versions import RELEASES, lowest_version


def test_every_feature_belongs_to_a_version_that_was_released() -> None:
    for name, features in FEATURES.items():
        numbers = [version for version, _ in features]
        assert min(numbers) > 1, name
        assert max(numbers) <= len(RELEASES[name].split()), name


def _operator(models: ModuleType, name: str, dtypes: tuple[str, ...], options: Any, shape: tuple[int, ...]) -> Operator:
    """An operator whose inputs and, last, output are of the types; (0.5, 0.25, 0.125, ...) are their scales."""
    values = [
        models.Value(f"v{place}", shape, dtype, (0.5**place,) if "int" in dtype else (), (0,) if "int" in dtype else ())
        for place, dtype in enumerate(dtypes)
    ]
    names = [value.name for value in values]
    step = models.Step(name, tuple(names[:-1]), (names[-1],), options)
    return operators(models.build(values, [step], names[:-1], names[-1:]))[0]


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


FLOAT, INT8, INT16 = "float32", "int8", "int16"
ASYMMETRIC = {"asymmetricQuantizeInputs": True}


@pytest.mark.parametrize(
    ("name", "dtypes", "options", "version"),
    [
        ("SOFTMAX", (FLOAT, FLOAT), {}, 1),
        ("SOFTMAX", (INT8, INT8), {}, 2),
        ("MEAN", (INT16, FLOAT, INT16), {}, 3),
        ("EXP", (INT8, INT8), {}, 2),
        ("GELU", (INT8, INT8), {}, 2),
        ("HARD_SWISH", (INT8, INT8), {}, 1),
        ("ADD", (INT8, INT8, INT8), {}, 2),
        ("ADD", (INT16, INT16, INT16), {"AddOptionsT": {"potScaleInt16": True}}, 1),
        ("ADD", (INT16, INT16, INT16), {"AddOptionsT": {"potScaleInt16": False}}, 3),
        ("SUB", (INT16, INT16, INT16), {"SubOptionsT": {"potScaleInt16": False}}, 5),
        ("MUL", (FLOAT, FLOAT, FLOAT), {}, 1),
        ("MUL", (INT8, INT8, INT8), {}, 3),  # 1 * .5 / .25: by 2
        ("FULLY_CONNECTED", (FLOAT, FLOAT, FLOAT, FLOAT), {}, 1),
        ("FULLY_CONNECTED", (FLOAT, FLOAT, FLOAT), {}, 6),
        ("FULLY_CONNECTED", (INT8, INT8, "int32", INT8), {}, 4),
        ("FULLY_CONNECTED", (INT8, INT8, "int32", INT8), {"FullyConnectedOptionsT": {"keepNumDims": True}}, 5),
        ("FULLY_CONNECTED", (FLOAT, INT8, FLOAT, FLOAT), {}, 3),
        ("FULLY_CONNECTED", (FLOAT, INT8, FLOAT, FLOAT), {"FullyConnectedOptionsT": ASYMMETRIC}, 9),
        ("FULLY_CONNECTED", (INT16, INT8, "int64", INT16), {}, 7),
        ("BATCH_MATMUL", (INT8, INT8, INT8), {}, 2),
        ("DEPTHWISE_CONV_2D", (FLOAT, FLOAT, FLOAT, FLOAT), {"DepthwiseConv2DOptionsT": {"dilationWFactor": 2}}, 2),
        ("DEPTHWISE_CONV_2D", (INT8, INT8, "int32", INT8), {"DepthwiseConv2DOptionsT": {"dilationWFactor": 2}}, 3),
        ("CONV_2D", (INT16, INT8, "int64", INT16), {}, 4),
        ("TRANSPOSE_CONV", ("int32", INT8, INT8, INT8), {}, 2),
        ("TRANSPOSE_CONV", ("int32", INT8, INT8, "int32", INT8), {}, 3),
        ("RESIZE_BILINEAR", (INT8, "int32", INT8), {"ResizeBilinearOptionsT": {"halfPixelCenters": True}}, 3),
        ("STRIDED_SLICE", (INT8, "int32", "int32", "int32", INT8), {"StridedSliceOptionsT": {"newAxisMask": 1}}, 6),
        ("SPLIT", ("int32", INT8, INT8), {}, 2),
        ("DEQUANTIZE", ("float16", FLOAT), {}, 3),
        ("QUANTIZE", (FLOAT, INT8), {}, 1),
        ("QUANTIZE", (FLOAT, INT16), {}, 2),
        ("CAST", ("int32", FLOAT), {}, 1),
        ("CAST", ("int32", INT8), {}, 3),
        ("BROADCAST_TO", (FLOAT, "int32", FLOAT), {}, 2),
        ("BROADCAST_TO", (INT8, "int32", INT8), {}, 3),
    ],
)  # fmt: skip
def test_the_version_is_that_of_the_newest_feature(
    name: str, dtypes: tuple[str, ...], options: dict[str, dict[str, Any]], version: int, tflite_models: ModuleType
) -> None:
    built = [vars(_schema())[kind](**values) for kind, values in options.items()]
    operator = _operator(tflite_models, name, dtypes, built[0] if built else None, (1, 2, 2, 2))
    assert lowest_version(operator) == version


@pytest.mark.parametrize(("axes", "version"), [(4, 2), (5, 4), (6, 6)])
def test_a_transpose_asks_by_its_axes(axes: int, version: int, tflite_models: ModuleType) -> None:
    operator = _operator(tflite_models, "TRANSPOSE", (INT8, "int32", INT8), None, (1,) * axes)
    assert lowest_version(operator) == version


def test_float_activations_with_one_scale_for_each_channel_ask_for_more(tflite_models: ModuleType) -> None:
    values = [
        tflite_models.Value("x", (1, 2)),
        tflite_models.Value("w", (2, 2), INT8, (0.5, 0.25), (0, 0), 0, np.ones((2, 2), np.int8)),
        tflite_models.Value("y", (1, 2)),
    ]
    step = tflite_models.Step("FULLY_CONNECTED", ("x", "w", ""), ("y",))
    (operator,) = operators(tflite_models.build(values, [step], ["x"], ["y"]))
    assert lowest_version(operator) == 12


@pytest.mark.parametrize(("channels", "version"), [(2, 3), (1, 6)])
def test_a_grouped_convolution_asks_for_more(channels: int, version: int, tflite_models: ModuleType) -> None:
    values = [
        tflite_models.Value("x", (1, 2, 2, 2), INT8, (1.0,), (0,)),
        tflite_models.Value("w", (2, 1, 1, channels), INT8, (1.0,), (0,), 0, np.ones((2, channels), np.int8)),
        tflite_models.Value("y", (1, 2, 2, 2), INT8, (1.0,), (0,)),
    ]
    step = tflite_models.Step("CONV_2D", ("x", "w", ""), ("y",), tflite_models.convolution_options())
    (operator,) = operators(tflite_models.build(values, [step], ["x"], ["y"]))
    assert lowest_version(operator) == version
