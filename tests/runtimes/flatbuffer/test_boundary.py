from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.flatbuffer.boundary import drop_unused, float_boundary, integer_boundary, rename
from edgewright.runtimes.flatbuffer.file import read, to_bytes
from edgewright.runtimes.flatbuffer.graph import inputs, operators, outputs, tensors


def test_the_integers_behind_and_before_the_floats_are_taken(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    assert integer_boundary(model) == ()
    assert [operator.name for operator in operators(model)] == ["CONV_2D"]
    (taken,), (given,) = inputs(model), outputs(model)
    assert (taken.dtype, taken.scales, taken.zero_points) == (
        "int8",
        (float(np.float32(tflite_models.IN_SCALE)),),
        (tflite_models.IN_ZERO,),
    )
    assert (given.dtype, given.scales, given.zero_points) == (
        "int8",
        (tflite_models.OUT_SCALE,),
        (tflite_models.OUT_ZERO,),
    )


def test_nothing_of_what_was_taken_is_left(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    integer_boundary(model)
    assert [tensor.name for tensor in tensors(model)] == ["codes", "weights", "bias", "layer;convolution"]
    assert len(model.operatorCodes) == 1
    assert [buffer.data is None for buffer in model.buffers] == [True, False, False]
    (signature,) = model.signatureDefs
    assert [(entry.name, entry.tensorIndex) for entry in (*signature.inputs, *signature.outputs)] == [
        ("old_image", inputs(model)[0].index),
        ("old_scores", outputs(model)[0].index),
    ]


def test_the_numbers_stay_the_same(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    image = np.random.default_rng(1).normal(size=(1, 4, 4, 2)).astype(np.float32)
    (floats,) = tflite_models.run(to_bytes(model), image)
    integer_boundary(model)
    codes = np.clip(np.round(image / np.float32(tflite_models.IN_SCALE)) + tflite_models.IN_ZERO, -128, 127)
    (integers,) = tflite_models.run(to_bytes(model), codes.astype(np.int8))
    assert np.array_equal((integers.astype(np.float32) - tflite_models.OUT_ZERO) * tflite_models.OUT_SCALE, floats)


def test_floats_outside_give_what_the_integers_stand_for(tflite_models: ModuleType) -> None:
    """The two ways of taking in an input cancel each other."""
    model = tflite_models.convolution("int8")
    image = np.random.default_rng(1).normal(size=(1, 4, 4, 2)).astype(np.float32)
    codes = np.clip(np.round(image / np.float32(tflite_models.IN_SCALE)) + tflite_models.IN_ZERO, -128, 127)
    (integers,) = tflite_models.run(to_bytes(model), codes.astype(np.int8))
    float_boundary(model)
    assert [operator.name for operator in operators(model)] == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    assert [tensor.dtype for tensor in (*inputs(model), *outputs(model))] == ["float32"] * 2
    (floats,) = tflite_models.run(to_bytes(model), image)
    assert np.array_equal((integers.astype(np.float32) - tflite_models.OUT_ZERO) * tflite_models.OUT_SCALE, floats)
    assert integer_boundary(model) == ()
    assert [operator.name for operator in operators(model)] == ["CONV_2D"]


def test_a_model_with_integers_already_is_left_as_it_is(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    before = to_bytes(model)
    assert integer_boundary(model) == ()
    assert to_bytes(model) == before


def test_an_input_that_is_also_read_in_float_stays(tflite_models: ModuleType) -> None:
    more = [tflite_models.Value("doubled", (1, 4, 4, 2))]
    model = tflite_models.convolution(extra=[tflite_models.Step("ADD", ("image", "image"), ("doubled",))], more=more)
    assert integer_boundary(model) == (
        "input image: ADD reads it in float too",
        "output doubled: ADD gives it, not DEQUANTIZE",
    )
    assert [tensor.dtype for tensor in inputs(model)] == ["float32"]
    assert [tensor.dtype for tensor in outputs(model)] == ["int8", "float32"]
    tflite_models.run(to_bytes(model), np.zeros((1, 4, 4, 2), np.float32))


def test_an_output_that_is_also_read_in_float_is_taken_and_its_dequantize_stays(tflite_models: ModuleType) -> None:
    more = [tflite_models.Value("doubled", (1, 4, 4, 4))]
    model = tflite_models.convolution(extra=[tflite_models.Step("ADD", ("scores", "scores"), ("doubled",))], more=more)
    assert integer_boundary(model) == ("output doubled: ADD gives it, not DEQUANTIZE",)
    assert [operator.name for operator in operators(model)] == ["CONV_2D", "DEQUANTIZE", "ADD"]
    assert [tensor.dtype for tensor in outputs(model)] == ["int8", "float32"]


def test_an_input_quantized_twice_alike_is_one_and_differently_stays(tflite_models: ModuleType) -> None:
    scale = tflite_models.IN_SCALE

    def twice(scale: float) -> ModuleType:
        again = tflite_models.Value("again", (1, 4, 4, 2), "int8", (scale,), (tflite_models.IN_ZERO,))
        return tflite_models.convolution(extra=[tflite_models.Step("QUANTIZE", ("image",), ("again",))], more=[again])

    alike, different = twice(scale), twice(2 * scale)
    assert integer_boundary(alike) == ()
    assert outputs(alike)[1] == inputs(alike)[0]
    assert integer_boundary(different) == ("input image: it is quantized in 2 ways",)


@pytest.mark.parametrize(
    ("steps", "reasons"),
    [
        ([("QUANTIZE", "x", "q"), ("DEQUANTIZE", "q", "y")], ["output y: what is dequantized is an input itself"]),
        ([("RELU", "x", "y")], ["input x: RELU reads it, not QUANTIZE", "output y: RELU gives it, not DEQUANTIZE"]),
        ([("DEQUANTIZE", "half", "y")], ["input x: nothing reads it, not QUANTIZE",
                                         "output y: what is dequantized is a constant"]),
    ],
)  # fmt: skip
def test_what_stays_float_is_told_with_why(
    steps: list[tuple[str, str, str]], reasons: list[str], tflite_models: ModuleType
) -> None:
    half = tflite_models.Value("half", (2,), "float16", data=np.ones(2, np.float16))
    values = [
        *(tflite_models.Value(name, (2,)) for name in "xy"),
        tflite_models.Value("q", (2,), "int8", (0.5,), (0,)),
        half,
    ]
    model = tflite_models.build(
        values, [tflite_models.Step(name, (read_,), (given,)) for name, read_, given in steps], ["x"], ["y"]
    )
    assert integer_boundary(model) == tuple(reasons)


def test_names_are_those_of_the_graph_and_of_the_signature(tflite_models: ModuleType) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = tflite_models.convolution()
    integer_boundary(model)
    rename(model, ["image"], ["scores"])
    content = to_bytes(model)
    assert [tensor.name for tensor in (*inputs(read(content)), *outputs(read(content)))] == ["image", "scores"]
    interpreter = Interpreter(model_content=content)
    assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}
    found = interpreter.get_signature_runner()(image=np.zeros((1, 4, 4, 2), np.int8))
    assert list(found) == ["scores"]


def test_a_model_without_a_signature_gets_one(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution()
    model.signatureDefs = []
    rename(model, ["a"], ["b"])
    (signature,) = read(to_bytes(model)).signatureDefs
    assert [entry.name for entry in (*signature.inputs, *signature.outputs)] == [b"a", b"b"]


def test_names_that_are_too_few_are_refused(tflite_models: ModuleType) -> None:
    with pytest.raises(StepError, match="the model has 1 outputs, but there are 2 names for them"):
        rename(tflite_models.convolution(), ["a"], ["b", "c"])


def test_what_nothing_names_goes_and_the_numbers_stay(tflite_models: ModuleType) -> None:
    unused = tflite_models.Value("unused", (1000,), data=np.ones(1000, np.float32))
    model, same = tflite_models.convolution(more=[unused]), tflite_models.convolution()
    drop_unused(model)
    assert to_bytes(model) == to_bytes(same)
