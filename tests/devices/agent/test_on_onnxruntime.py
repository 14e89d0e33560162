"""The adapter of onnxruntime: names, shapes, values from inside a model, and its profile."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.agent.on_onnxruntime import OnnxRuntime, _field
from edgewright.devices.local import LocalDevice
from edgewright.runtimes import open_runner
from onnx import TensorProto, helper

Open = Callable[..., OnnxRuntime]


@pytest.fixture
def open_file(tmp_path: Path) -> Open:
    """open_file(**options): a file that hands out its two inputs, four times as large."""
    ports = [("a", TensorProto.FLOAT, [1, 3]), ("b", TensorProto.DOUBLE, ["batch", 2])]
    nodes = [helper.make_node("Add", [name, name], [f"twice_{name}"], f"first_{name}") for name, _, _ in ports]
    nodes += [
        helper.make_node("Add", [f"twice_{name}"] * 2, [f"four_{name}"], f"second_{name}") for name, _, _ in ports
    ]
    graph = helper.make_graph(
        nodes,
        "four times",
        [helper.make_tensor_value_info(*port) for port in ports],
        [helper.make_tensor_value_info(f"four_{name}", kind, shape) for name, kind, shape in ports],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m")

    def run(**options: Any) -> OnnxRuntime:
        runtime = OnnxRuntime(OnnxRuntime.library(), str(tmp_path / "m"), 1, options)
        runtime.open()
        return runtime

    return run


FEEDS = {"a": np.ones((1, 3), np.float32), "b": np.ones((4, 2))}


def test_inputs_and_outputs_are_named_with_shape_and_type(open_file: Open) -> None:
    opened = open_file()
    assert opened.inputs == [("a", [1, 3], "float32"), ("b", ["batch", 2], "float64")]
    assert opened.outputs == ["four_a", "four_b"]
    found = opened.run(FEEDS)
    assert [(values == 4).all() for values in found] == [True, True]
    assert [values.shape for values in found] == [(1, 3), (4, 2)]


def test_an_open_batch_has_the_size_that_was_asked_for_and_a_fixed_one_no_other(open_file: Open) -> None:
    with pytest.raises(AgentError, match=r"options.batch: expected 1, the batch that the file was made for, got 8"):
        open_file(batch=8)
    assert [shape for _, shape, _ in open_file(batch=1).inputs] == [[1, 3], [1, 2]]


def test_values_between_nodes_are_kept_where_they_are_asked_for(open_file: Open) -> None:
    opened = open_file(keep_tensors=["twice_b", "twice_a"])
    assert opened.outputs == ["four_a", "four_b"]
    assert [(values == 4).all() for values in opened.run(FEEDS)] == [True, True]
    kept = opened.tensors()
    assert list(kept) == ["twice_b", "twice_a"]
    assert all((values == 2).all() for values in kept.values())


def test_more_values_than_a_byte_counts_are_kept(open_file: Open) -> None:
    """Lengths of 128 and more take two bytes in protobuf."""
    opened = open_file(keep_tensors=["twice_a", "twice_b"])
    assert _field(7, b"x" * 300)[:3] == bytes([7 << 3 | 2, 300 & 127 | 128, 300 >> 7])
    assert opened.run(FEEDS)
    with pytest.raises(Exception, match="no_such_value"):
        open_file(keep_tensors=["no_such_value" + "_" * 300])


def test_what_was_not_kept_is_refused(open_file: Open) -> None:
    opened = open_file()
    opened.run(FEEDS)
    with pytest.raises(AgentError, match="keep_tensors"):
        opened.tensors()


def test_nodes_are_timed_once_with_the_profiler_and_no_file_is_left(open_file: Open) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            opened = open_file(profile=True)
            for _ in range(3):
                opened.run(FEEDS)
            found = opened.profiled()
            assert os.listdir(folder) == []
        finally:
            tempfile.tempdir = None
    assert sorted(name for name, _, _ in found) == ["first_a", "first_b", "second_a", "second_b"]
    assert {operator for _, operator, _ in found} == {"Add"}
    assert [len(samples) for _, _, samples in found] == [3] * 4
    with pytest.raises(AgentError, match="expected the load option profile"):
        opened.profiled()


@pytest.mark.parametrize(("options", "is_fused"), [({}, True), ({"unoptimized": True}, False)])
def test_a_reference_computes_each_node_as_the_file_says_it(
    quantized_models: ModuleType, tmp_path: Path, options: dict[str, bool], is_fused: bool
) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", zero_point=np.uint8(0))
    with open_runner("onnxruntime", LocalDevice(), file, 1, options={"profile": True, **options}) as runner:
        kinds = [each.operator for each in runner.profile(1).operators]
    written = ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Relu"]
    assert (sorted(kinds) == sorted(written)) is not is_fused
