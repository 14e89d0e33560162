"""A model that hands out what lies between its layers: the same values, and for TensorRT's builder the same INT8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.devices.agent import build_engine
from edgewright.devices.local import LocalDevice
from edgewright.runtimes import open_runner
from edgewright.runtimes.layers import INPUT, layers
from edgewright.runtimes.onnx_graph.exposed import expose
from edgewright.runtimes.tensorrt_build import verdict

UNOPTIMIZED = {"unoptimized": True}


@pytest.fixture
def file(built_tensorrt: Path) -> Path:
    return built_tensorrt / "model.int8.onnx"


def inner(file: Path) -> list[Any]:
    """The layers between the model's ends."""
    ends = {entry.name for entry in onnx.load(str(file)).graph.output}
    return [layer for layer in layers("tensorrt", file) if layer.tensor not in ends and layer.operator != INPUT]


def test_values_between_layers_are_those_that_a_session_keeps(file: Path, tmp_path: Path) -> None:
    wanted = inner(file)
    assert {layer.dtype for layer in wanted} >= {"int8"}
    images = {"image": np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)}
    kept = {"keep_tensors": [layer.tensor for layer in wanted]}
    with open_runner("onnxruntime", LocalDevice(), file, 1, options={**UNOPTIMIZED, **kept}) as runner:
        right = runner.tensors({name: values[:1] for name, values in images.items()})
    exposed = expose(file, wanted, tmp_path)
    assert exposed == tmp_path / file.name
    with open_runner("onnxruntime", LocalDevice(), exposed, 1, options=UNOPTIMIZED) as runner:
        found = dict(zip(runner.outputs, runner.run(images), strict=True))
    assert set(found) == set(right) - {"image"}
    for name, values in found.items():
        assert values.dtype == right[name].dtype
        assert np.array_equal(values[:1], right[name])


@pytest.mark.skipif(not verdict.is_installed(), reason=verdict.HOW)
def test_the_builder_keeps_every_layer_in_int8(file: Path, tmp_path: Path) -> None:
    """NVIDIA's own parser and builder."""
    settings = {**json.loads((file.parent / "engine.json").read_text()), "build_for": "8.9"}
    trt = build_engine.library(verdict.LIBRARY)
    engine, report = build_engine.build(trt, str(expose(file, inner(file), tmp_path)), settings, [])
    assert engine is not None, report["problems"]
    assert report["int8"] == settings["int8_layers"]
    assert report["int8"]
