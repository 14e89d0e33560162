"""TRANSPOSEs that an operator can do without are gone, and the values are what they were."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgewright.runtimes.flatbuffer.file import to_bytes
from edgewright.runtimes.flatbuffer.graph import operators, text
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


def flat(models: ModuleType, back: tuple[int, ...]) -> Any:
    """An image (1, 4, 5, 1) that is padded as NCHW, between RESHAPEs: its one channel moves as it lies."""
    padding = np.array([[0, 0], [0, 0], [1, 2], [3, 0]], np.int32)
    shapes = {"image": (1, 4, 5, 1), "turned": (1, 1, 4, 5), "wide": (1, 1, 7, 8), "out": back}
    values = [
        *(models.Value(name, shape) for name, shape in shapes.items()),
        constant(models, "to", np.array(shapes["turned"], np.int32)),
        constant(models, "by", padding),
        constant(models, "back", np.array(back, np.int32)),
    ]
    steps = [
        models.Step("RESHAPE", ("image", "to"), ("turned",)),
        models.Step("PAD", ("turned", "by"), ("wide",)),
        models.Step("RESHAPE", ("wide", "back"), ("out",)),
    ]
    return models.build(values, steps, ["image"], ["out"])


def test_a_reshape_that_only_moves_an_axis_of_one_is_a_transpose(tflite_models: ModuleType) -> None:
    image, model = IMAGE[..., :1], flat(tflite_models, (1, 7, 8, 1))
    (before,) = tflite_models.run(to_bytes(model), image)
    assert fold_transposes(model) == 1
    assert names(model) == ["PAD"]
    assert np.array_equal(tflite_models.run(to_bytes(model), image)[0], before)


def test_a_reshape_that_moves_values_is_none(tflite_models: ModuleType) -> None:
    model = flat(tflite_models, (1, 8, 7, 1))
    assert fold_transposes(model) == 0
    assert names(model) == ["RESHAPE", "PAD", "RESHAPE"]


@pytest.mark.parametrize("is_inverse", [True, False])
def test_what_is_turned_and_turned_back_is_read_as_it_was(tflite_models: ModuleType, is_inverse: bool) -> None:
    """Two readers: one takes the image as NCHW, which must stay, and one as it was."""
    back = TO_NHWC if is_inverse else TO_NCHW
    turned = tuple(IMAGE.shape[axis] for axis in TO_NCHW)
    again = tuple(turned[axis] for axis in back)
    values = [
        tflite_models.Value("image", IMAGE.shape),
        *(tflite_models.Value(name, turned) for name in ("turned", "first")),
        *(tflite_models.Value(name, again) for name in ("again", "second")),
        *(constant(tflite_models, name, each) for name, each in (("to", TO_NCHW), ("back", back))),
    ]
    steps = [
        tflite_models.Step("TRANSPOSE", ("image", "to"), ("turned",)),
        tflite_models.Step("TRANSPOSE", ("turned", "back"), ("again",)),
        tflite_models.Step("NEG", ("turned",), ("first",)),
        tflite_models.Step("NEG", ("again",), ("second",)),
    ]
    model = tflite_models.build(values, steps, ["image"], ["first", "second"])
    before = tflite_models.run(to_bytes(model), IMAGE)
    assert fold_transposes(model) == int(is_inverse)
    assert names(model).count("TRANSPOSE") == (1 if is_inverse else 2)
    for old, new in zip(before, tflite_models.run(to_bytes(model), IMAGE), strict=True):
        assert np.array_equal(old, new)


@pytest.mark.parametrize("source", ["middle", "image"])
def test_what_is_turned_back_for_the_caller_is_handed_out_as_it_was(tflite_models: ModuleType, source: str) -> None:
    """An input stays another tensor than the output."""
    turned = tuple(IMAGE.shape[axis] for axis in TO_NCHW)
    values = [
        *(tflite_models.Value(name, IMAGE.shape) for name in ("image", "middle", "out", "other")),
        tflite_models.Value("turned", turned),
        *(constant(tflite_models, name, each) for name, each in (("to", TO_NCHW), ("back", TO_NHWC))),
    ]
    steps = [
        tflite_models.Step("NEG", ("image",), ("middle",)),
        tflite_models.Step("TRANSPOSE", (source, "to"), ("turned",)),
        tflite_models.Step("TRANSPOSE", ("turned", "back"), ("out",)),
        tflite_models.Step("ABS", ("middle",), ("other",)),
    ]
    model = tflite_models.build(values, steps, ["image"], ["out", "other"])
    before = tflite_models.run(to_bytes(model), IMAGE)
    assert fold_transposes(model) == int(source == "middle")
    assert names(model).count("TRANSPOSE") == (0 if source == "middle" else 2)
    (signature,) = model.signatureDefs
    assert [entry.tensorIndex for entry in signature.outputs] == list(model.subgraphs[0].outputs)
    for old, new in zip(before, tflite_models.run(to_bytes(model), IMAGE), strict=True):
        assert np.array_equal(old, new)


def test_a_tensor_is_not_handed_out_twice(tflite_models: ModuleType) -> None:
    values = [
        *(tflite_models.Value(name, IMAGE.shape) for name in ("image", "first", "second")),
        tflite_models.Value("turned", tuple(IMAGE.shape[axis] for axis in TO_NCHW)),
        *(constant(tflite_models, name, each) for name, each in (("to", TO_NCHW), ("back", TO_NHWC))),
    ]
    steps = [
        tflite_models.Step("NEG", ("image",), ("first",)),
        tflite_models.Step("TRANSPOSE", ("first", "to"), ("turned",)),
        tflite_models.Step("TRANSPOSE", ("turned", "back"), ("second",)),
    ]
    model = tflite_models.build(values, steps, ["image"], ["first", "second"])
    assert fold_transposes(model) == 0
    assert len(set(model.subgraphs[0].outputs)) == 2


def test_tensors_that_are_made_here_have_names_of_their_own(tflite_models: ModuleType) -> None:
    """Other tools (ai-edge-quantizer) refuse a file in which two tensors have one name."""
    values = [tflite_models.Value("image", (1, 4, 5, 3)), constant(tflite_models, "to", TO_NCHW)]
    values += [constant(tflite_models, "by", PADDING), constant(tflite_models, "back", TO_NHWC)]
    steps = []
    for end in ("first", "second"):
        shapes = {f"turned {end}": (1, 3, 4, 5), f"wide {end}": (1, 6, 4, 8), end: (1, 4, 8, 6)}
        values += [tflite_models.Value(name, shape) for name, shape in shapes.items()]
        turned, wide, _ = shapes
        steps += [
            tflite_models.Step("TRANSPOSE", ("image", "to"), (turned,)),
            tflite_models.Step("PAD", (turned, "by"), (wide,)),
            tflite_models.Step("TRANSPOSE", (wide, "back"), (end,)),
        ]
    model = tflite_models.build(values, steps, ["image"], ["first", "second"])
    assert fold_transposes(model) == 2
    found = [text(tensor.name) for tensor in model.subgraphs[0].tensors]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_mean_over_positions_takes_them_where_they_lie(tflite_models: ModuleType, keeps: bool) -> None:
    """Where the axes stay, the TRANSPOSE does too: the result would have another shape."""
    model = mean(tflite_models, keeps)
    (before,) = tflite_models.run(to_bytes(model), IMAGE)
    assert fold_transposes(model) == (0 if keeps else 1)
    assert names(model) == (["TRANSPOSE", "MEAN"] if keeps else ["MEAN"])
    (after,) = tflite_models.run(to_bytes(model), IMAGE)
    assert np.abs(after - before).max() <= np.finfo(np.float32).eps * np.abs(IMAGE).sum()
