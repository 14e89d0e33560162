from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from edgewright.ir.errors import StepError
from edgewright.runtimes import Emitted
from edgewright.runtimes.onnx_graph.coverage import coverage
from torch import nn

Emit = Callable[..., Emitted]
Build = Callable[[bool], nn.Module]


def test_a_quantized_model_is_covered_but_for_its_float_layer(emit: Emit, quantized: Build) -> None:
    found = emit(quantized(False), torch.randn(2, 3, 8, 8)).coverage
    assert (found.quantized, found.eligible) == (2, 3)
    assert found.left == (("head", "kept in float: its weights are not quantized"),)
    assert dict(found.float_operators) == {"ReduceMean": 1}
    assert str(found) == "2 of 3 layers in INT8"


def test_one_convolution_left_in_float_is_named(emit: Emit, quantized: Build) -> None:
    found = emit(quantized(True), torch.randn(2, 3, 8, 8)).coverage
    assert (found.quantized, found.eligible) == (1, 3)
    assert dict(found.left)["second"] == "kept in float: its weights are not quantized"
    assert found.conversions > 0


def test_a_float_model_has_none_of_its_layers_in_int8(emit: Emit) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    found = emit(network, torch.randn(2, 3, 8, 8)).coverage
    assert (found.quantized, found.eligible, found.left, found.conversions) == (0, 2, (), 0)


def test_products_of_activations_are_no_layers(emit: Emit) -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(x)
            return x @ x.transpose(1, 2)

    assert emit(Products(), torch.randn(2, 5, 4)).coverage.eligible == 1


@pytest.mark.parametrize(
    ("flaw", "why"),
    [
        ("input", "its input is not quantized"),
        ("output", "its output is not quantized; ReduceMean reads it in float"),
        ("reader", "its output is also read in float"),
        ("activation", "its Relu stays: onnxruntime drops one only where the zero point is the activation's own floor"),
    ],
)
def test_each_reason_for_float_is_told_apart(emit: Emit, quantized: Build, flaw: str, why: str) -> None:
    q = torch.ops.quantized_decomposed

    def grid(x: torch.Tensor) -> torch.Tensor:
        codes = q.quantize_per_tensor(x, 0.05, 128, 0, 255, torch.uint8)
        return q.dequantize_per_tensor(codes, 0.05, 128, 0, 255, torch.uint8)

    class Flawed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = quantized(False).get_submodule("first")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            layer = self.layer
            weights = q.dequantize_per_channel(layer.weights, layer.scales, layer.zeros, 0, -127, 127, torch.int8)
            bias = q.dequantize_per_channel(
                layer.bias, layer.bias_scales, layer.zeros, 0, -(2**31), 2**31 - 1, torch.int32
            )
            y = nn.functional.conv2d(x if flaw == "input" else grid(x), weights, bias, padding=1)
            if flaw == "activation":
                y = torch.relu(y)
            if flaw == "reader":
                return grid(y).mean((2, 3)) + y.amax((2, 3))
            return (y if flaw == "output" else grid(y)).mean((2, 3))

    found = emit(Flawed(), torch.randn(2, 3, 8, 8)).coverage
    assert found.quantized == 0
    assert [reason for _, reason in found.left] == [why]


def test_a_file_that_does_not_load_is_an_error_that_names_it(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Strange", ["x"], ["y"])], "g", [value], [])
    onnx.save(helper.make_model(graph, ir_version=10), tmp_path / "strange.onnx")
    with pytest.raises(StepError, match=r"does not load strange\.onnx"):
        coverage(tmp_path / "strange.onnx")
