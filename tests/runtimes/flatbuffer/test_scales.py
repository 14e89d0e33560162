"""A quantized file has the graph's scales and no others."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from edgewright.ir.errors import StepError
from edgewright.ir.graph import export
from edgewright.ir.state import register_quantized_operators
from edgewright.runtimes.flatbuffer.graph import operators
from edgewright.runtimes.flatbuffer.scales import grids_of, merge_equal_scales, refuse_foreign_scales
from torch import Tensor, nn

register_quantized_operators()


class Layer(nn.Module):
    """The convolution of tests/runtimes/tflite_models.py in torch: its grids, or another output scale."""

    def __init__(self, models: ModuleType, out_scale: float) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(4, 2, 3, 3, dtype=torch.int8))
        self.register_buffer("scales", torch.tensor(models.WEIGHT_SCALES))
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))
        self.grids = ((models.IN_SCALE, models.IN_ZERO), (out_scale, models.OUT_ZERO))

    def forward(self, x: Tensor) -> Tensor:
        q = torch.ops.quantized_decomposed
        weights = q.dequantize_per_channel(self.weights, self.scales, self.zeros, 0, -127, 127, torch.int8)
        for at, (scale, zero) in enumerate(self.grids):
            x = nn.functional.conv2d(x, weights, padding=1) if at else x
            form = (scale, zero, -128, 127, torch.int8)
            x = q.dequantize_per_tensor(q.quantize_per_tensor(x, *form), *form)
        return x


def program(models: ModuleType, out_scale: float) -> Any:
    return export(Layer(models, out_scale).eval(), (torch.zeros(1, 2, 4, 4),), False)


def test_the_graphs_own_scales_pass(tflite_models: ModuleType) -> None:
    refuse_foreign_scales(tflite_models.convolution(), program(tflite_models, tflite_models.OUT_SCALE))


def test_a_scale_that_the_graph_does_not_have_is_refused_with_the_layer(tflite_models: ModuleType) -> None:
    with pytest.raises(StepError, match=r"quantized .* with scales of its own: .*keep_float"):
        refuse_foreign_scales(tflite_models.convolution(), program(tflite_models, 2 * tflite_models.OUT_SCALE))


def test_a_weight_has_all_its_scales_or_one_where_they_are_equal(tflite_models: ModuleType) -> None:
    found = grids_of(program(tflite_models, tflite_models.OUT_SCALE))
    assert (tuple(float(np.float32(scale)) for scale in tflite_models.WEIGHT_SCALES), (0,) * 4) in found
    assert len(found) == 3


@pytest.mark.parametrize(("scales", "left"), [((0.5, 0.5), (0.5,)), ((0.5, 0.25), (0.5, 0.25))])
def test_equal_scales_of_a_dense_layer_are_said_once(
    tflite_models: ModuleType, scales: tuple[float, ...], left: tuple[float, ...]
) -> None:
    models = tflite_models
    values = [
        models.Value("in", (1, 3), "int8", (0.1,), (0,)),
        models.Value("weights", (2, 3), "int8", scales, (0, 0), 0, np.ones((2, 3), np.int8)),
        models.Value("out", (1, 2), "int8", (0.1,), (0,)),
    ]
    step = models.Step("FULLY_CONNECTED", ("in", "weights", ""), ("out",), schema.FullyConnectedOptionsT())
    model = models.build(values, [step], ["in"], ["out"])
    merge_equal_scales(model)
    (dense,) = operators(model)
    weights = dense.inputs[1]
    assert weights is not None
    assert (weights.scales, len(weights.zero_points)) == (left, len(left))
