"""The adapter of onnxruntime: names, shapes, and what it can't do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.agent.on_onnxruntime import OnnxRuntime
from onnx import TensorProto, helper


@pytest.fixture
def opened(tmp_path: Path) -> OnnxRuntime:
    """A file that hands its two inputs out, twice as large."""
    ports = [("a", TensorProto.FLOAT, [1, 3]), ("b", TensorProto.DOUBLE, ["batch", 2])]
    nodes = [helper.make_node("Add", [name, name], [f"twice_{name}"]) for name, _, _ in ports]
    graph = helper.make_graph(
        nodes,
        "twice",
        [helper.make_tensor_value_info(*port) for port in ports],
        [helper.make_tensor_value_info(f"twice_{name}", kind, shape) for name, kind, shape in ports],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m")
    runtime = OnnxRuntime(OnnxRuntime.library(), str(tmp_path / "m"), 1, {})
    runtime.open()
    return runtime


def test_inputs_and_outputs_are_named_with_shape_and_type(opened: OnnxRuntime) -> None:
    assert opened.inputs == [("a", [1, 3], "float32"), ("b", ["batch", 2], "float64")]
    assert opened.outputs == ["twice_a", "twice_b"]
    a, b = np.ones((1, 3), np.float32), np.ones((4, 2))
    found = opened.run({"a": a, "b": b})
    assert [(values == 2).all() for values in found] == [True, True]
    assert [values.shape for values in found] == [(1, 3), (4, 2)]


def test_what_a_session_does_not_tell_is_refused(opened: OnnxRuntime) -> None:
    with pytest.raises(AgentError, match="keeps no tensor"):
        opened.tensors()
