"""Models that are no models are said to be none."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes.onnx_graph.reading import read
from onnx import TensorProto, helper


def written(path: Path, *nodes: onnx.NodeProto) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("image", "output")]
    graph = helper.make_graph(list(nodes), "graph", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), str(path))
    return path


def test_operators_without_the_inputs_that_they_need_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image"], ["features"], name="stem"),
        helper.make_node("QuantizeLinear", ["features"], ["output"]),
    ]
    with pytest.raises(InputError) as error:
        read(written(tmp_path / "model.onnx", *nodes))
    told = str(error.value)
    assert "stem: expected Conv with 2 inputs or more, got 1" in told
    assert "QuantizeLinear: expected QuantizeLinear with 2 inputs or more, got 1" in told


def test_operators_that_nobody_knows_are_read(tmp_path: Path) -> None:
    nodes = [helper.make_node("Unheard", [], ["output"]), helper.make_node("Own", ["image"], [], domain="own")]
    assert len(read(written(tmp_path / "model.onnx", *nodes)).graph.node) == len(nodes)


def test_an_empty_model_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a file without operators"):
        read(written(tmp_path / "model.onnx"))
