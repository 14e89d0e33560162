from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.flatbuffer.file import read
from edgewright.runtimes.flatbuffer.graph import inputs, operators, outputs, tensors, text, type_bits


def test_tensors_tell_what_the_file_says_of_them(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    codes, weights, bias, layer = tensors(model)
    assert (codes.name, codes.shape, codes.dtype, codes.is_constant) == ("codes", (1, 4, 4, 2), "int8", False)
    assert weights.scales == tuple(float(np.float32(scale)) for scale in tflite_models.WEIGHT_SCALES)
    assert (weights.zero_points, weights.axis, weights.elements, weights.bytes) == ((0,) * 4, 0, 72, 72)
    assert (bias.bytes, list(bias.values())) == (16, [100, -200, 50, 0])
    assert weights.values().shape == weights.shape
    assert (layer.scales, layer.zero_points) == ((tflite_models.OUT_SCALE,), (tflite_models.OUT_ZERO,))
    assert (inputs(model), outputs(model)) == ((codes,), (layer,))


def test_operators_tell_what_they_read_and_give(tflite_models: ModuleType) -> None:
    first, layer, last = operators(tflite_models.convolution())
    assert [operator.name for operator in (first, layer, last)] == ["QUANTIZE", "CONV_2D", "DEQUANTIZE"]
    assert [tensor.name for tensor in layer.present] == ["codes", "weights", "bias"]
    assert (layer.version, layer.index, layer.subgraph, layer.options.strideH) == (3, 1, 0, 1)
    assert first.outputs == (layer.inputs[0],)


def test_an_input_left_out_is_none_and_a_custom_operator_has_its_own_name(tflite_models: ModuleType) -> None:
    step = tflite_models.Step("", ("a", ""), ("b",), custom="Strange")
    model = tflite_models.build([tflite_models.Value("a", (1,)), tflite_models.Value("b", (1,))], [step], ["a"], ["b"])
    (operator,) = operators(model)
    assert (operator.name, operator.is_custom, operator.inputs[1]) == ("Strange", True, None)
    assert operator.present == operator.inputs[:1]


def test_an_open_axis_is_told(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 4, 4, 2], np.int32)
    assert [tensor.open_axes for tensor in tensors(model)[:2]] == [(0,), ()]


@pytest.mark.parametrize(("dtype", "bits"), [("int4", 4), ("bfloat16", 16), ("bool", 8), ("float32", 32)])
def test_how_many_bits_a_type_takes(dtype: str, bits: int) -> None:
    assert type_bits(dtype) == bits


def test_packed_types_take_half_a_byte_each(tflite_models: ModuleType) -> None:
    value = tflite_models.Value("w", (3,), "int4", data=np.zeros(2, np.uint8))
    (tensor,) = tensors(tflite_models.build([value], [], [], []))
    assert (tensor.elements, tensor.bytes) == (3, 2)
    with pytest.raises(StepError, match="tensor w is of type int4: its values cannot be read"):
        tensor.values()


def test_what_has_no_values_or_no_size_is_an_error(tflite_models: ModuleType) -> None:
    with pytest.raises(StepError, match="tensor codes is no constant"):
        inputs(tflite_models.convolution("int8"))[0].values()
    with pytest.raises(StepError, match="string has no fixed size"):
        type_bits("string")


@pytest.mark.parametrize(("value", "expected"), [(b"a", "a"), ("a", "a"), (None, ""), (b"\xff", "\ufffd")])
def test_names_are_text(value: bytes | str | None, expected: str) -> None:
    assert text(value) == expected


def test_operators_of_a_real_file(shared_data: Path) -> None:
    """The image network of MLPerf Tiny, int8: what its operators are is published with it."""
    names = {
        operator.name for operator in operators(read(shared_data / "mlperf_tiny/ic/pretrainedResnet_quant.tflite"))
    }
    assert names == {"CONV_2D", "ADD", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}
