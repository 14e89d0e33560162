"""`edgewright lint`: findings in lines or as one document, and an exit code that says whether something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Program = Callable[..., Any]


@pytest.fixture
def model(tmp_path: Path) -> Callable[[int], Path]:
    """model(axis): a file with one quantized convolution whose weights have their scales along that axis."""

    def save(axis: int) -> Path:
        def store(name: str, values: Any) -> onnx.TensorProto:
            return numpy_helper.from_array(np.asarray(values), name)

        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["given"]),
            helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["kept"], axis=axis),
            helper.make_node("Conv", ["given", "kept"], ["y"], name="conv3"),
        ]
        stored = [store("s", np.float32(0.1)), store("z", np.int8(0)), store("w", np.ones((8, 8, 1, 1), np.int8))]
        stored += [store("ws", np.full(8, 0.1, np.float32)), store("wz", np.zeros(8, np.int8))]
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4])
        made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "graph", [given], [made], stored)
        file = tmp_path / f"axis{axis}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), str(file))
        return file

    return save


def test_a_model_without_errors_ends_with_zero(model: Callable[[int], Path], edgewright: Program) -> None:
    shown = edgewright("lint", model(0), "--target", "nvidia-rtx-ada")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines() == [f"{model(0)} for nvidia-rtx-ada: 0 to repair, 0 to know of"]


def test_what_would_run_in_float_ends_with_one_and_says_which_layer(
    model: Callable[[int], Path], edgewright: Program
) -> None:
    shown = edgewright("lint", model(1), "--target", "nvidia-jetson-orin")
    assert shown.code == 1
    assert shown.out.splitlines() == [
        "runs in float: conv3: weights are quantized along axis 1, not 0; TensorRT would run it in float",
        f"{model(1)} for nvidia-jetson-orin: 1 to repair, 0 to know of",
    ]


def test_json_is_one_document(model: Callable[[int], Path], edgewright: Program) -> None:
    shown = edgewright("lint", model(1), "--target", "nvidia-rtx-ada", "--json")
    assert shown.code == 1
    document = json.loads(shown.out)
    assert (document["schema"], document["target"], document["errors"]) == (1, "nvidia-rtx-ada", 1)
    (finding,) = document["findings"]
    assert (finding["layer"], finding["severity"]) == ("conv3", "runs in float")


def test_a_target_without_rules_is_wrong_input(model: Callable[[int], Path], edgewright: Program) -> None:
    shown = edgewright("lint", model(0), "--target", "arm64-cortex-a72")
    assert (shown.code, shown.out) == (2, "")
    assert "nvidia-rtx-ada" in shown.err


def test_a_file_that_is_not_there_is_wrong_input(tmp_path: Path, edgewright: Program) -> None:
    shown = edgewright("lint", tmp_path / "none.onnx", "--target", "nvidia-rtx-ada")
    assert (shown.code, shown.out) == (2, "")
    assert "none.onnx" in shown.err
