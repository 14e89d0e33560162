"""`build`, `verify` and `bench` for an NVIDIA GPU on a machine without one: proved by a reference, timed by nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgewright.pipeline.parity import HALF_STEPS
from edgewright.runtimes.tensorrt_build import host, verdict

Program = Callable[..., Any]
TARGET = "nvidia-rtx-ada"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(host.can_run(), reason="there is a GPU, with TensorRT"),
]


@dataclass(frozen=True)
class Built:
    """A build of the small recipe with a budget of latency: its folder, and what `--json` said."""

    folder: Path
    ran: Any


@pytest.fixture(scope="module")
def built(trained_recipe: Path, tmp_path_factory: pytest.TempPathFactory, program: Program) -> Built:
    folder = tmp_path_factory.mktemp("built-tensorrt")
    given = ["--target", TARGET, "--out", folder / "out", "--cache", folder / "cache", "--json"]
    settings = [
        f"--set={each}" for each in ("budget.latency_p95_ms=2.0", "compress.prune=null", "compress.recover=null")
    ]
    ran = program("build", trained_recipe / "recipe.yaml", *given, *settings)
    return Built(folder / "out" / TARGET, ran)


def test_a_budget_that_nobody_measured_fails_the_build_and_says_who_can(built: Built) -> None:
    assert (built.ran.code, built.ran.err.count("error")) == (3, 1)
    assert "budget.latency_p95_ms: NOT MEASURED: 2 allowed; the target's runtime can't run here" in built.ran.err
    (found,) = built.ran.document()["results"]
    assert (found["status"], found["runtime"]) == ("over-budget", "tensorrt")
    assert found["latency_ns"]["verdict"] == "not measured"
    assert found["reference_runtime"] == "onnxruntime with its optimizations off"
    budgets = {each["key"]: each["met"] for each in found["budget"]}
    assert budgets == {"accuracy_drop_points": True, "latency_p95_ms": None}
    assert any("a reference runtime, not nvidia-rtx-ada: it has no NVIDIA GPU" in remark for remark in found["remarks"])


def test_the_artifact_holds_what_an_engine_is_built_of(built: Built) -> None:
    files = {path.name for path in built.folder.iterdir()}
    assert {"model.int8.onnx", "model.fp16.onnx", "plan.txt", "golden"} <= files
    assert {"engine.json", "build_engine.py", "verdict.json"} <= files
    assert "reports" not in files
    assert {"model.fp32.onnx", "model.fp16.onnx"} <= {path.name for path in (built.folder / "baseline").iterdir()}
    assert ("model.engine" in files) == verdict.is_installed()
    document = json.loads((built.folder / "manifest.json").read_text())
    assert document["runtime_version"].startswith("not run; onnxruntime with its optimizations off, ")


def test_float16_is_computed_in_where_it_is_asked_for(trained_recipe: Path, tmp_path: Path, program: Program) -> None:
    given = ["--target", TARGET, "--out", tmp_path / "out", "--cache", tmp_path / "cache", "--json"]
    settings = ["compress.prune=null", "compress.recover=null", "compress.quantize={precision: float16}"]
    ran = program("build", trained_recipe / "recipe.yaml", *given, *(f"--set={each}" for each in settings))
    assert ran.code == 0, ran.err
    (found,) = ran.document()["results"]
    manifest = json.loads((tmp_path / "out" / TARGET / "manifest.json").read_text())
    assert (found["status"], manifest["main"]) == ("ok", "model.fp16.onnx")
    assert 0.5 * found["bytes"]["baseline"] < found["bytes"]["artifact"] < 0.8 * found["bytes"]["baseline"]
    golden = json.loads((tmp_path / "out" / TARGET / "golden" / "golden.json").read_text())
    assert golden["allowed_steps"] == HALF_STEPS


def test_verify_names_the_reference_and_bench_refuses_to_time_it(built: Built, program: Program) -> None:
    shown = program("verify", built.folder)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith(" by onnxruntime with its optimizations off, a reference runtime\n")
    refused = program("bench", built.folder)
    assert refused.code == 1
    assert "there is no NVIDIA driver" in refused.err or "TensorRT is not installed" in refused.err
