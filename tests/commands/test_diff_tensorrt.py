"""`diff` of an artifact for TensorRT: by the reference without a GPU, by engines on a GPU that is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgewright.runtimes.tensorrt_build import host

Program = Callable[..., Any]
NAMES = ["image", "stem.0", "body.0", "head"]
REFERENCE = "onnxruntime with its optimizations off"


@pytest.mark.skipif(host.can_run(), reason="there is a GPU, with TensorRT")
def test_without_a_gpu_the_reference_tells_every_layer(built_tensorrt: Path, edgewright: Program) -> None:
    shown = edgewright("diff", built_tensorrt, "--json")
    assert shown.code == 0, shown.err
    document = json.loads(shown.out)
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert [name for name in NAMES if name in layers] == NAMES
    assert document["reference_runtime"] == REFERENCE
    assert all(layers[name]["sqnr_db"] > 10 and layers[name]["note"] == "" for name in NAMES)
    assert (layers["image"]["dtype"], layers["stem.0"]["dtype"]) == ("int8", "int8")
    assert document["strayed"] is None
    lines = edgewright("diff", built_tensorrt).out.splitlines()
    assert lines[0].endswith(f": 8 samples on local by {REFERENCE}, a reference runtime")
    assert any(line.startswith(f"these are the values of {REFERENCE}, which gives ") for line in lines)


def test_on_a_gpu_engines_are_built_that_hand_the_values_out(
    built_tensorrt: Path, gpu_here: Any, edgewright: Program
) -> None:
    shown = edgewright("diff", built_tensorrt, "--json")
    assert shown.code == 0, shown.err
    document = json.loads(shown.out)
    assert document["reference_runtime"] is None
    assert set(NAMES) <= {layer["name"] for layer in document["layers"]}
    assert all(layer["sqnr_db"] is not None for layer in document["layers"] if layer["name"] in NAMES)
    assert gpu_here.built == ["model.int8.onnx", "model.fp32.onnx"]
    assert document["remarks"][0].startswith("its values kept, the artifact ")


def test_where_such_an_engine_fails_the_reference_tells_and_the_reason_is_said(
    built_tensorrt: Path, gpu_here: Any, edgewright: Program
) -> None:
    gpu_here.in_float = ["stem.0"]
    shown = edgewright("diff", built_tensorrt, "--json")
    assert shown.code == 0, shown.err
    document = json.loads(shown.out)
    assert document["reference_runtime"] == REFERENCE
    assert "the engine hands out no values between its layers: model.int8.onnx in tensorrt" in document["remarks"][0]
    assert "these run in float: stem.0" in document["remarks"][0]


@pytest.mark.skipif(host.can_run(), reason="there is a GPU, with TensorRT")
def test_profile_without_a_gpu_says_what_is_missing(built_tensorrt: Path, edgewright: Program) -> None:
    shown = edgewright("profile", built_tensorrt)
    assert (shown.code, shown.out) == (1, "")
    assert "there is no NVIDIA driver" in shown.err or "TensorRT is not installed" in shown.err
