"""Convolutions that can pad for themselves do, and compute what they did."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edgewright.runtimes.flatbuffer.file import to_bytes
from edgewright.runtimes.flatbuffer.graph import operators
from edgewright.runtimes.flatbuffer.padding import fold_padding

DRAW = np.random.default_rng(0)
CODES = DRAW.integers(-128, 128, (1, 7, 8, 2)).astype(np.int8)
SCALE, ZERO = 0.05, -3


def padded(
    models: ModuleType,
    rows: tuple[int, int],
    columns: tuple[int, int],
    *,
    stride: int = 1,
    zero: int = ZERO,
    channels: tuple[int, int] = (0, 0),
    is_read: bool = False,
) -> Any:
    """An int8 image (1, 7, 8, 2) that a PAD makes larger before a convolution of 3 by 3, four channels, VALID.

    `zero` is the zero point that the padded image has; `is_read`: the graph gives that image too.
    """
    height, width = 7 + sum(rows), 8 + sum(columns)
    shape = (1, (height - 3) // stride + 1, (width - 3) // stride + 1, 4)
    depth = 2 + sum(channels)
    weights = DRAW.integers(-127, 128, (4, 3, 3, depth)).astype(np.int8)
    by = np.array([(0, 0), rows, columns, channels], np.int32)
    bias = np.array([100, -200, 50, 0], np.int32)
    values = [
        models.Value("image", CODES.shape, "int8", (SCALE,), (ZERO,)),
        models.Value("wide", (1, height, width, depth), "int8", (SCALE,), (zero,)),
        models.Value("by", by.shape, "int32", data=by),
        models.Value("weights", weights.shape, "int8", (0.01,) * 4, (0,) * 4, 0, weights),
        models.Value("bias", bias.shape, "int32", (SCALE * 0.01,) * 4, (0,) * 4, 0, bias),
        models.Value("out", shape, "int8", (0.25,), (7,)),
    ]
    steps = [
        models.Step("PAD", ("image", "by"), ("wide",), None, 2),
        models.Step(
            "CONV_2D",
            ("wide", "weights", "bias"),
            ("out",),
            models.convolution_options(stride, is_padded=False),
            3,
        ),
    ]
    return models.build(values, steps, ["image"], ["out", "wide"] if is_read else ["out"])


def names(model: Any) -> list[str]:
    return [operator.name for operator in operators(model)]


@pytest.mark.parametrize(
    ("stride", "rows", "columns"),
    [(1, (1, 1), (1, 1)), (2, (1, 1), (0, 1)), (3, (1, 1), (0, 1))],
    ids=["stride 1", "stride 2, odd and even", "stride 3"],
)
def test_padding_as_same_has_it_is_the_convolutions_own(
    tflite_models: ModuleType, stride: int, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    model = padded(tflite_models, rows, columns, stride=stride)
    (before,) = tflite_models.run(to_bytes(model), CODES)
    assert fold_padding(model) == 1
    assert names(model) == ["CONV_2D"]
    (after,) = tflite_models.run(to_bytes(model), CODES)
    assert np.array_equal(after, before)


def test_dilated_kernels_count_as_wide_as_they_reach(tflite_models: ModuleType) -> None:
    model = padded(tflite_models, (2, 2), (2, 2))
    operator = model.subgraphs[0].operators[1]
    operator.builtinOptions.dilationHFactor = operator.builtinOptions.dilationWFactor = 2
    model.subgraphs[0].tensors[operator.outputs[0]].shape = np.array([1, 7, 8, 4], np.int32)
    (before,) = tflite_models.run(to_bytes(model), CODES)
    assert fold_padding(model) == 1
    assert np.array_equal(tflite_models.run(to_bytes(model), CODES)[0], before)


@pytest.mark.parametrize(
    "form",
    [
        {"rows": (1, 1), "columns": (1, 1), "stride": 2},
        {"rows": (1, 1), "columns": (1, 1), "channels": (0, 1)},
        {"rows": (1, 1), "columns": (1, 1), "zero": 0},
        {"rows": (2, 2), "columns": (2, 2)},
    ],
    ids=["in front where SAME pads behind", "channels", "another grid", "more than SAME"],
)
def test_other_padding_stays(tflite_models: ModuleType, form: dict[str, Any]) -> None:
    """An even size at stride 2 is padded behind by SAME, and on both sides by torch's padding of 1."""
    model = padded(tflite_models, **form)
    assert fold_padding(model) == 0
    assert names(model) == ["PAD", "CONV_2D"]


def test_a_padded_image_that_something_else_reads_stays(tflite_models: ModuleType) -> None:
    model = padded(tflite_models, (1, 1), (1, 1), is_read=True)
    before = tflite_models.run(to_bytes(model), CODES)
    assert fold_padding(model) == 1
    assert names(model) == ["PAD", "CONV_2D"]
    for old, new in zip(before, tflite_models.run(to_bytes(model), CODES), strict=True):
        assert np.array_equal(old, new)
