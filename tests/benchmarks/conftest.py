"""Latency reports with known truth, and a runner of a real artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.benchmarks.latency import LatencyReport
from edgewright.devices.local import LocalDevice
from edgewright.runtimes import Runner, open_runner
from onnx import TensorProto, helper, numpy_helper

IDENTITY = {
    "cpu": "a processor",
    "architecture": "x86_64",
    "logical_cores": 2,
    "flags": ["avx2"],
    "kernel": "Linux 6",
    "threads": 1,
    "runtime": "onnxruntime",
    "runtime_version": "1.32.0",
}

Reported = Callable[..., LatencyReport]


@pytest.fixture
def reported() -> Reported:
    """A report of given samples: reported(rounds_ns (rounds, runs), **fields that differ)."""

    def make(rounds_ns: Any, **fields: Any) -> LatencyReport:
        rounds = tuple(tuple(int(sample) for sample in block) for block in np.atleast_2d(rounds_ns))
        values: dict[str, Any] = {
            "warm_up_runs": 10,
            "is_steady": True,
            "meaning": "one run",
            "device": "local",
            "session": "one",
            "identity": IDENTITY,
            "load_ns": 12_300_000,
            "first_inference_ns": 1_000_000,
            "peak_rss_bytes": 70 << 20,
            "rss_before_load_bytes": 46 << 20,
        }
        return LatencyReport(rounds, **{**values, **fields})

    return make


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """An artifact that copies its input (1, 4): the sample is its own logits."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "copy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


@pytest.fixture
def runner(classifier: Path) -> Iterator[Runner]:
    """The classifier in onnxruntime."""
    with open_runner("onnxruntime", LocalDevice(), classifier, threads=1) as loaded:
        yield loaded
