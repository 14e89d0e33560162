from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.runtimes.tensorrt_build.wanted import sparse_layers, wanted
from onnx import numpy_helper


def test_a_layer_with_both_sides_quantized_is_wanted(quantized_models: ModuleType, tmp_path: Path) -> None:
    names, coverage = wanted(quantized_models.convolution(tmp_path / "model.onnx"))
    assert names == ("conv",)
    assert (coverage.quantized, coverage.eligible, coverage.left, coverage.conversions) == (1, 1, (), 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"quantizes_weights": False}, "its weights are not quantized"),
        ({"quantizes_input": False}, "its input is not quantized"),
    ],
)
def test_one_side_alone_is_told(quantized_models: ModuleType, tmp_path: Path, options: Any, why: str) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", **options)
    model = onnx.load(file)
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", ["output", "step"], ["codes"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.1), "step"))
    onnx.save(model, file)
    names, coverage = wanted(file)
    assert (names, coverage.left, coverage.eligible) == ((), (("conv", why),), 1)


def test_a_float_model_has_nothing_to_explain(quantized_models: ModuleType, tmp_path: Path) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", quantizes_weights=False, quantizes_input=False)
    names, coverage = wanted(file)
    assert (names, coverage.quantized, coverage.eligible, coverage.left) == ((), 0, 1, ())


@pytest.mark.parametrize(("zeros", "is_sparse"), [((0, 3), True), ((0,), False)])
def test_sparsity_is_read_off_the_stored_weights(
    quantized_models: ModuleType, tmp_path: Path, zeros: tuple[int, ...], is_sparse: bool
) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx")
    model = onnx.load(file)
    (codes,) = [each for each in model.graph.initializer if each.name == "codes"]
    weights = np.maximum(np.abs(numpy_helper.to_array(codes)), 1)
    for place in zeros:
        weights[:, place::4] = 0
    codes.CopyFrom(numpy_helper.from_array(weights, "codes"))
    onnx.save(model, file)
    assert sparse_layers(file) == (("conv",) if is_sparse else ())
