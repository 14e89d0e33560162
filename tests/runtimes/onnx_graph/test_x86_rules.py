"""lint for x86: eight-bit weights are found on targets that saturate, and only there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.onnx_graph.lint import lint
from edgewright.targets import load_target
from onnx import TensorProto, helper, numpy_helper


def model(path: Path, weights: np.ndarray, activations: type = np.uint8) -> Path:
    """One convolution between quantize nodes."""
    stored = {
        "s": np.float32(0.1),
        "z": activations(0),
        "layer.weight": weights,
        "ws": np.float32(0.01),
        "wz": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["layer.weight", "ws", "wz"], ["w"]),
        helper.make_node("Conv", ["d", "w"], ["y"], name="layer"),
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "graph", shapes[:1], shapes[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_weights_that_saturate_are_wrong_numbers(tmp_path: Path) -> None:
    weights = np.zeros((2, 4, 1, 1), np.int8)
    weights[0, :2, 0, 0] = 127
    file = model(tmp_path / "model.onnx", weights)
    (finding,) = lint(file, load_target("x86-avx2"))
    assert finding.is_error
    assert finding.layer == "layer"
    assert "1 of 4 pairs of neighbouring weights can exceed sixteen bits" in finding.message
    assert lint(file, load_target("x86-avx512-vnni")) == ()


def test_neighbours_are_channels_of_one_position(tmp_path: Path) -> None:
    weights = np.zeros((1, 2, 2, 1), np.int8)
    weights[0, 0] = 127
    assert lint(model(tmp_path / "model.onnx", weights), load_target("x86-avx2")) == ()


def test_small_weights_are_fine_and_int8_inputs_are_slow(tmp_path: Path) -> None:
    small = np.full((2, 4, 1, 1), 63, np.int8)
    assert lint(model(tmp_path / "small.onnx", small), load_target("x86-avx2")) == ()
    (finding,) = lint(model(tmp_path / "signed.onnx", small * 2, np.int8), load_target("x86-avx2"))
    assert (finding.severity, finding.is_error) == ("note", False)


def test_a_runtime_without_rules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rules here"):
        lint(tmp_path / "model.onnx", load_target("arm64-cortex-a72"))
