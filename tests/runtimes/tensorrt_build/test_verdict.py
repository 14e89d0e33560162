"""NVIDIA's parser and builder in a process of their own, and the linter that knows their answers beforehand."""

from __future__ import annotations

from dataclasses import replace
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
@pytest.mark.parametrize(("where", "outcome"), [
    ("both", "dies"),
    ("dequantize", "dies"),
    ("weights", "refused"),
    ("quantize", "builds"),
    ("constant", "builds"),
])  # fmt: skip
def test_a_scale_that_is_computed(onnx_models: ModuleType, tmp_path: Path, where: str, outcome: str) -> None:
    """Of a dequantize node it ends the process of TensorRT for RTX 1.7.1.116, or fails; the linter refuses it first."""
    onnx.save(onnx_models.with_computed_scale(where), tmp_path / "model.onnx")
    linted = lint(tmp_path / "model.onnx", load_target("nvidia-rtx-ada"))
    assert any(finding.severity == "refused" for finding in linted) == (outcome != "builds")
    found = ask(SETTINGS, tmp_path)
    assert found.is_built == (outcome == "builds")
    assert outcome == "builds" or found.crash.startswith("it died of SIGSEGV") or found.refusals


@needs_rtx
@pytest.mark.parametrize("kind", ["bf16", "fp8"])
@pytest.mark.parametrize("name", ["nvidia-t4", "nvidia-rtx-ampere", "nvidia-rtx-ada", "nvidia-rtx-blackwell"])
def test_bfloat16_and_fp8_are_built_where_the_profile_has_them(
    onnx_models: ModuleType, tmp_path: Path, name: str, kind: str
) -> None:
    target = load_target(name)
    assert target.gpu is not None
    fp8 = {"inputs": {"float8": True}, "float8_weights": True}
    model = onnx_models.of_bfloat16() if kind == "bf16" else onnx_models.convolution(**fp8)
    onnx.save(model, tmp_path / "model.onnx")
    found = ask(replace(SETTINGS, build_for=target.gpu.compute_capability), tmp_path)
    assert (found.is_parsed, found.is_built) == (True, kind in target.gpu.precisions)
    is_refused = any(finding.severity == "refused" for finding in lint(tmp_path / "model.onnx", target))
    assert is_refused == (kind not in target.gpu.precisions)


@needs_rtx
@pytest.mark.parametrize(("inputs", "is_int8"), [(4, False), (5, True)])
def test_few_inputs_at_one_position_run_in_float(
    onnx_models: ModuleType, tmp_path: Path, inputs: int, is_int8: bool
) -> None:
    builder = onnx_models.Builder()
    stored = builder.weights("w", onnx_models.integers(32, inputs, 1, 1))
    builder.node("Conv", [builder.rounded("x", "given"), stored], "y", name="conv")
    onnx.save(builder.model([1, inputs, 1, 1]), tmp_path / "model.onnx")
    assert bool(lint(tmp_path / "model.onnx", load_target("nvidia-rtx-ada"))) == (not is_int8)
    found = ask(SETTINGS, tmp_path)
    assert (found.is_built, found.int8) == (True, ("conv",) if is_int8 else ())


def test_what_can_not_be_asked_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "LIBRARY", "a_library_that_nobody_has")
    assert ask(SETTINGS, tmp_path) == Verdict(absent=HOW)


def test_layers_of_no_engine_are_not_said_to_run_in_float() -> None:
    assert Verdict(is_built=False).in_float(["conv"]) == ()
