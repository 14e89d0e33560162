"""TRANSPOSEs that an operator can do without are gone, and the values are what they were."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgewright.runtimes.flatbuffer.file import to_bytes
from edgewright.runtimes.flatbuffer.graph import operators
from edgewright.runtimes.flatbuffer.layout import fold_transposes

IMAGE = np.random.default_rng(0).standard_normal((1, 4, 5, 3)).astype(np.float32)
TO_NCHW, TO_NHWC = np.array([0, 3, 1, 2], np.int32), np.array([0, 2, 3, 1], np.int32)
PADDING = np.array([[0, 0], [1, 2], [0, 0], [3, 0]], np.int32)
"""As NCHW has it: channels and columns."""


def constant(models: ModuleType, name: str, values: np.ndarray) -> Any:
    return models.Value(name, values.shape, "int32", data=values)


def padded(models: ModuleType, back: np.ndarray) -> Any:
    """An image (1, 4, 5, 3) that is padded as NCHW, between two TRANSPOSEs."""
    values = [
        models.Value("image", (1, 4, 5, 3)),
        models.Value("turned", (1, 3, 4, 5)),
        models.Value("wide", (1, 6, 4, 8)),
        models.Value("out", tuple((1, 6, 4, 8)[axis] for axis in back)),
        *(constant(models, name, each) for name, each in (("to", TO_NCHW), ("by", PADDING), ("back", back))),
    ]
    steps = [
        models.Step("TRANSPOSE", ("image", "to"), ("turned",)),
        models.Step("PAD", ("turned", "by"), ("wide",)),
        models.Step("TRANSPOSE", ("wide", "back"), ("out",)),
    ]
    return models.build(values, steps, ["image"], ["out"])


def mean(models: ModuleType, keeps: bool) -> Any:
    """The mean over the positions of an image that a TRANSPOSE turned to NCHW."""
    options = schema.ReducerOptionsT(keeps)
    values = [
        models.Value("image", (1, 4, 5, 3)),
        models.Value("turned", (1, 3, 4, 5)),
        models.Value("out", (1, 3, 1, 1) if keeps else (1, 3)),
        constant(models, "to", TO_NCHW),
        constant(models, "axes", np.array([2, 3], np.int32)),
    ]
    steps = [
        models.Step("TRANSPOSE", ("image", "to"), ("turned",)),
        models.Step("MEAN", ("turned", "axes"), ("out",), options),
    ]
    return models.build(values, steps, ["image"], ["out"])


def names(model: Any) -> list[str]:
    return [operator.name for operator in operators(model)]


def test_padding_between_a_transpose_and_its_inverse_needs_neither(tflite_models: ModuleType) -> None:
    model = padded(tflite_models, TO_NHWC)
    (before,) = tflite_models.run(to_bytes(model), IMAGE)
    assert fold_transposes(model) == 1
    assert names(model) == ["PAD"]
    assert np.array_equal(tflite_models.run(to_bytes(model), IMAGE)[0], before)


def test_another_order_behind_it_leaves_all_as_it_is(tflite_models: ModuleType) -> None:
    model = padded(tflite_models, np.array([0, 3, 2, 1], np.int32))
    assert fold_transposes(model) == 0
    assert names(model) == ["TRANSPOSE", "PAD", "TRANSPOSE"]


@pytest.mark.parametrize("keeps", [False, True])
def test_a_mean_over_positions_takes_them_where_they_lie(tflite_models: ModuleType, keeps: bool) -> None:
    """Where the axes stay, the TRANSPOSE does too: the result would have another shape."""
    model = mean(tflite_models, keeps)
    (before,) = tflite_models.run(to_bytes(model), IMAGE)
    assert fold_transposes(model) == (0 if keeps else 1)
    assert names(model) == (["TRANSPOSE", "MEAN"] if keeps else ["MEAN"])
    (after,) = tflite_models.run(to_bytes(model), IMAGE)
    assert np.abs(after - before).max() <= np.finfo(np.float32).eps * np.abs(IMAGE).sum()
