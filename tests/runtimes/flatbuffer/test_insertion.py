"""New parts of a model are where they say, and the old ones stay."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from edgewright.runtimes.flatbuffer.graph import operators, outputs, tensors
from edgewright.runtimes.flatbuffer.insertion import add_buffer, add_float_twin, conversion


def test_a_buffer_holds_the_bytes_of_the_values(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    before = len(model.buffers)
    place = add_buffer(model, np.array([1, 2], np.int32))
    assert (place, len(model.buffers)) == (before, before + 1)
    assert model.buffers[place].data.tolist() == [1, 0, 0, 0, 2, 0, 0, 0]


def test_a_twin_takes_name_and_shape_and_holds_floats(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    (old,) = outputs(model)
    place = add_float_twin(model, old.index, "/quantized")
    known = tensors(model)
    assert (known[place].name, known[place].shape, known[place].dtype) == (old.name, old.shape, "float32")
    assert (known[place].scales, known[place].is_constant) == ((), False)
    assert known[old.index].name == f"{old.name}/quantized"


def test_a_conversion_is_an_operator_once_it_stands_in_the_graph(tflite_models: ModuleType) -> None:
    model = tflite_models.convolution("int8")
    (old,) = outputs(model)
    step = conversion(model, "DEQUANTIZE", old.index, add_float_twin(model, old.index, "/quantized"))
    model.subgraphs[0].operators.append(step)
    last = operators(model)[-1]
    assert (last.name, last.version) == ("DEQUANTIZE", 1)
    assert [tensor.dtype for tensor in (*last.present, *last.outputs)] == ["int8", "float32"]
