"""Biases beside int16 are as wide as their kernels read them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from edgewright.runtimes.flatbuffer.biases import widen_biases
from edgewright.runtimes.flatbuffer.file import to_bytes
from edgewright.runtimes.flatbuffer.graph import operators
from edgewright.runtimes.flatbuffer.versions import set_versions


@pytest.mark.parametrize(("dtype", "wide"), [("int8", "int32"), ("int16", "int64")])
def test_a_dense_layer_adds_a_bias_of_its_inputs_width(dtype: str, wide: str, tflite_models: ModuleType) -> None:
    models = tflite_models
    values = [
        models.Value("in", (1, 3), dtype, (0.5,), (0,)),
        models.Value("weights", (2, 3), "int8", (0.25,), (0,), 0, np.array([[1, 2, 3], [-4, 5, 6]], np.int8)),
        models.Value("bias", (2,), "int32", (0.125,), (0,), 0, np.array([40, -8], np.int32)),
        models.Value("out", (1, 2), dtype, (0.25,), (0,)),
    ]
    step = models.Step("FULLY_CONNECTED", ("in", "weights", "bias"), ("out",), schema.FullyConnectedOptionsT())
    model = models.build(values, [step], ["in"], ["out"])
    widen_biases(model)
    set_versions(model)
    ((_, _, bias),) = (operator.inputs for operator in operators(model))
    assert (bias.dtype, bias.values().tolist()) == (wide, [40, -8])
    (found,) = models.run(to_bytes(model), np.array([[2, 4, 6]], np.dtype(dtype)))
    assert found.tolist() == [[34, 20]]


def test_a_layer_without_a_bias_stays_as_it_is(tflite_models: ModuleType) -> None:
    models = tflite_models
    values = [
        models.Value("in", (1, 3), "int16", (0.5,), (0,)),
        models.Value("weights", (2, 3), "int8", (0.25,), (0,), 0, np.ones((2, 3), np.int8)),
        models.Value("out", (1, 2), "int16", (0.25,), (0,)),
    ]
    step = models.Step("FULLY_CONNECTED", ("in", "weights", ""), ("out",), schema.FullyConnectedOptionsT())
    model = models.build(values, [step], ["in"], ["out"])
    before = to_bytes(model)
    widen_biases(model)
    assert to_bytes(model) == before
