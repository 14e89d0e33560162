"""NVIDIA's parser and builder in a process of their own, and the linter that knows their answers beforehand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.runtimes.onnx_graph.tensorrt_rules import lint
from edgewright.runtimes.tensorrt_build import verdict
from edgewright.runtimes.tensorrt_build.settings import Settings
from edgewright.runtimes.tensorrt_build.verdict import HOW, Verdict, ask, is_installed
from edgewright.targets import load_target

needs_rtx = pytest.mark.skipif(not is_installed(), reason=HOW)
SETTINGS = Settings("model.onnx", {}, ("conv",), "8.9", "tensorrt-rtx", build_for="8.9")
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "weights along axis 1": ({"axis": 1}, "float"),
    "weights alone": ({"quantizes_input": False}, "float"),
    "activations alone": ({"quantizes_weights": False}, "float"),
    "uint8": ({"zero_point": np.uint8(0)}, "wrong"),
    "zero point": ({"zero_point": np.int8(3)}, "refused"),
    "scale below zero": ({"scale": -1.0}, "refused"),
    "int32 bias": ({"has_int32_bias": True}, "refused"),
}


@needs_rtx
@pytest.mark.parametrize(("options", "outcome"), BROKEN.values(), ids=BROKEN)
def test_the_linter_catches_what_the_builder_would_do(
    quantized_models: ModuleType, tmp_path: Path, options: dict[str, Any], outcome: str
) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx", **options)
    assert any(finding.is_error for finding in lint(file, load_target("nvidia-rtx-ada")))
    found = ask(SETTINGS, tmp_path)
    assert (found.is_parsed, found.is_built) == (outcome != "refused", outcome != "refused")
    assert bool(found.refusals) == (outcome == "refused")
    assert found.in_float(["conv"]) == (("conv",) if outcome == "float" else ())
    assert any("Defaulting to INT8" in warning for warning in found.warnings) == (outcome == "wrong")


@needs_rtx
def test_a_good_model_passes_both(quantized_models: ModuleType, tmp_path: Path) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx")
    assert [finding for finding in lint(file, load_target("nvidia-rtx-ada")) if finding.is_error] == []
    found = ask(SETTINGS, tmp_path, tmp_path / "model.engine")
    assert (found.is_built, found.int8, found.crash, found.absent) == (True, ("conv",), "", "")
    assert found.engine_bytes == (tmp_path / "model.engine").stat().st_size
    assert found.place == f"TensorRT for RTX {found.version}, for compute capability 8.9"


@needs_rtx
def test_a_process_that_dies_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import os, signal, sys; print('at work', file=sys.stderr); os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setattr(verdict, "SCRIPT", script)
    found = ask(SETTINGS, tmp_path)
    assert (found.crash, found.is_built) == ("it died of SIGSEGV: at work", False)
    script.write_text("raise SystemExit('no')")
    assert ask(SETTINGS, tmp_path).crash == "it ended with 1: no"


@needs_rtx
def test_a_model_that_kills_the_parser_is_a_finding(quantized_models: ModuleType, tmp_path: Path) -> None:
    """A scale that is computed: seen to end the process of TensorRT for RTX 1.7.1.116; the linter refuses it."""
    file = quantized_models.convolution(tmp_path / "model.onnx")
    model = onnx.load(file)
    (dequantize,) = [node for node in model.graph.node if node.input[0] == "x_codes"]
    dequantize.input[1] = "computed"
    model.graph.node.insert(0, onnx.helper.make_node("ReduceMax", ["image"], ["computed"], keepdims=0))
    onnx.save(model, file)
    assert any(finding.severity == "refused" for finding in lint(file, load_target("nvidia-rtx-ada")))
    found = ask(SETTINGS, tmp_path)
    assert not found.is_built
    assert found.crash.startswith("it died of SIGSEGV") or found.refusals


def test_what_can_not_be_asked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "LIBRARY", "a_library_that_nobody_has")
    assert ask(SETTINGS, tmp_path) == Verdict(absent=HOW)


def test_layers_of_no_engine_are_not_said_to_run_in_float() -> None:
    assert Verdict(is_built=False).in_float(["conv"]) == ()
