"""`bench`, `verify`, `diff` and `profile` of a TensorRT artifact, on a GPU that is memory of this process.

Its engines compute what onnxruntime computes of the model; what stands between the command line and NVIDIA's functions
is the real thing. Its times are nobody's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.devices.agent import build_engine
from edgewright.devices.agent.on_tensorrt import TIMING_CACHE
from edgewright.devices.local import LocalDevice
from edgewright.ship import manifest

Program = Callable[..., Any]


@pytest.fixture
def artifact(
    built_tensorrt: Path, tmp_path: Path, gpu_here_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An artifact whose benches take no time."""
    gpu_here_module.in_no_time(monkeypatch)
    return Path(shutil.copytree(built_tensorrt, tmp_path / "artifact"))


def test_a_graph_stands_beside_none_with_what_is_inside_the_time(
    artifact: Path, gpu_here: Any, edgewright: Program
) -> None:
    shown = edgewright("bench", artifact, "--events")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0] == f"artifact: {artifact}"
    assert lines[1].split() == ["p50", "p95", "engine", "alone", "p50", "load", "memory"]
    assert [line.split("  ")[0] for line in lines[2:4]] == ["artifact", "artifact, CUDA graph"]
    assert lines[4].startswith("artifact: CUDA graph against none: ")
    assert lines[5].startswith(
        "p50 and p95 are of one inference end to end: inputs are copied from numpy arrays to the"
    )
    assert lines[6].startswith("engine alone: ")
    assert lines[7] == "artifact: 2 layers, 2 of the model's in INT8, built in 0.5 s, timing cache written"
    assert lines[8].startswith("measured on local (NVIDIA Pretence beside ")
    assert (artifact / f"model.int8.onnx{TIMING_CACHE}").is_file()


def test_batches_and_precisions_are_one_document(artifact: Path, gpu_here: Any, edgewright: Program) -> None:
    shown = edgewright("bench", artifact, "--precisions", "--batch", "1,16", "--cuda-graph", "--events", "--json")
    assert shown.code == 0, shown.err
    document = json.loads(shown.out)
    ways = document["ways"]
    assert [(way["precision"].split()[0], way["batch"]) for way in ways.values()] == [
        (precision, batch) for batch in (1, 16) for precision in ("fp32", "fp16", "int8")
    ]
    assert set(document["reports"]) == set(ways)
    assert all(way["cuda_graph"] and way["events"] for way in ways.values())
    wide = next(name for name in ways if name.startswith("fp32") and "batch 16" in name)
    ratio = next(each for each in document["comparisons"] if each["of"] == "int8, batch 16, CUDA graph")
    assert ratio["to"] == wide
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert document["comparison"] is None
    report = document["reports"]["int8, batch 16, CUDA graph"]
    assert report["identity"]["gpu"] == "NVIDIA Pretence"
    assert report["identity"]["engine"]["int8_layers"] == 2
    assert {sample_ns for block in report["engine_rounds_ns"] for sample_ns in block} == {1_500_000}
    assert document["reports"][wide]["identity"]["engine"]["int8_layers"] == 0
    assert sorted(set(gpu_here.built)) == ["model.fp16.onnx", "model.fp32.onnx", "model.int8.onnx"]
    assert "cuGraphLaunch" in gpu_here.driver.calls


def test_fewer_layers_in_int8_than_the_verdict_said_fail_with_their_names(
    artifact: Path, gpu_here: Any, edgewright: Program
) -> None:
    gpu_here.in_float = ["stem.0"]
    for options in ([], ["--precisions"]):
        shown = edgewright("bench", artifact, *options)
        assert (shown.code, shown.out) == (1, "")
        assert "model.int8.onnx: 1 of 2 layers run in INT8; these run in float: stem.0" in shown.err


@pytest.mark.parametrize(
    ("says", "meaning"),
    [
        ("engine generated on an incompatible device, expecting compute 8.6", "the engine was built for another GPU"),
        ("Version tag does not match", "the engine was built by another version of TensorRT"),
    ],
)
def test_an_engine_that_does_not_load_is_a_failure(
    artifact: Path, gpu_here: Any, edgewright: Program, says: str, meaning: str
) -> None:
    gpu_here.says = says
    shown = edgewright("bench", artifact)
    assert (shown.code, shown.out) == (1, "")
    assert meaning in shown.err


@pytest.mark.parametrize(
    ("code", "meaning"), [(2, "the GPU has too little memory left for it"), (804, "the NVIDIA driver is too old")]
)
def test_a_driver_that_fails_is_a_failure(
    artifact: Path, gpu_here: Any, edgewright: Program, code: int, meaning: str
) -> None:
    gpu_here.driver.failures["cuMemAlloc_v2"] = code
    shown = edgewright("bench", artifact)
    assert (shown.code, shown.out) == (1, "")
    assert meaning in shown.err


@pytest.mark.parametrize("command", ["bench", "profile"])
def test_where_tensorrt_is_missing_it_is_said_how_it_comes(
    command: str, artifact: Path, gpu_here_module: ModuleType, monkeypatch: pytest.MonkeyPatch, edgewright: Program
) -> None:
    monkeypatch.setattr(build_engine, "LIBRARIES", ("no_such_tensorrt",))
    monkeypatch.setattr(LocalDevice, "start", lambda device: gpu_here_module.SessionHere())
    shown = edgewright(command, artifact)
    assert (shown.code, shown.out) == (1, "")
    assert "TensorRT is not installed for " in shown.err
    assert "it comes with JetPack on a Jetson, otherwise with pip install tensorrt or tensorrt-rtx" in shown.err


def test_a_batch_outside_of_the_engine_is_bad_input_before_anything_is_built(
    artifact: Path, gpu_here: Any, edgewright: Program
) -> None:
    shown = edgewright("bench", artifact, "--batch", "4,32")
    assert (shown.code, shown.out, gpu_here.built) == (2, "", [])
    assert "--batch: expected 1 to 16, the range of the engine (engine.json), got 32" in shown.err


def test_verify_runs_the_engine_and_names_the_gpu(artifact: Path, gpu_here: Any, edgewright: Program) -> None:
    shown = edgewright("verify", artifact)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith(", on local (NVIDIA Pretence)\n")
    assert gpu_here.built == ["model.int8.onnx"]


def test_profile_shows_what_tensorrt_tells_of_its_layers(artifact: Path, gpu_here: Any, edgewright: Program) -> None:
    shown = edgewright("profile", artifact, "--runs", 5)
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[2].split() == ["first", "+", "second", "correlation", "250", "us", "25.0", "%"]
    assert lines[3].split() == ["third", "kgen", "750", "us", "75.0", "%"]


def test_settings_without_shapes_are_bad_input(artifact: Path, gpu_here: Any, edgewright: Program) -> None:
    (artifact / "engine.json").write_text("{}")
    document = json.loads((artifact / manifest.FILE).read_text())
    document["files"]["engine.json"] = manifest.entry_of(artifact / "engine.json").model_dump()
    (artifact / manifest.FILE).write_text(json.dumps(document))
    shown = edgewright("bench", artifact, "--batch", "2")
    assert (shown.code, shown.out) == (2, "")
    assert "engine.json: shapes: expected the engine's shapes" in shown.err
