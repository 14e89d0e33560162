"""`edgewright bench`: an artifact measured from its folder alone, or two in turns, as text and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


@pytest.mark.slow
def test_it_prints_what_was_measured_and_where(built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.artifact)
    assert shown.code == 0
    for label in ("latency p50", "latency p95", "first inference", "load", "peak memory", "samples"):
        assert label in shown.out
    assert str(built.artifact) in shown.out
    assert shown.out.splitlines()[-1].startswith("measured on local (")
    assert ", 1 thread" in shown.out


@pytest.mark.slow
def test_against_another_it_ends_with_a_verdict(built: Any, edgewright: Program) -> None:
    baseline = built.artifact / "baseline"
    shown = edgewright("bench", built.artifact, "--against", baseline)
    last = shown.out.splitlines()[-1]
    assert last.startswith(f"{built.artifact} against {baseline}: ")
    assert re.search(r": (\d+\.\d+x (faster|slower)|cannot tell) \(\d+\.\d+ to \d+\.\d+\)$", last)


@pytest.mark.slow
def test_json_is_one_document_with_every_raw_sample(built: Any, program: Program) -> None:
    ran = program("bench", built.artifact, "--against", built.artifact / "baseline", "--threads", "2", "--json")
    assert ran.code == 0
    document = ran.document()
    assert document["schema"] == 1
    assert set(document["reports"]) == {"artifact", "against"}
    for report in document["reports"].values():
        assert all(sample_ns > 0 for block in report["rounds_ns"] for sample_ns in block)
        assert report["rounds_ns"]
        assert report["identity"]["threads"] == 2
    comparison = document["comparison"]
    assert comparison["low"] <= comparison["ratio"] <= comparison["high"]
    assert comparison["verdict"] in ("faster", "slower", "cannot tell")


@pytest.mark.slow
def test_an_open_batch_is_timed_in_several_sizes(built_open: Path, edgewright: Program) -> None:
    shown = edgewright("bench", built_open / "x86-avx2", "--batch", "1, 64", "--json")
    assert shown.code == 0
    document = json.loads(shown.out)
    assert [way["batch"] for way in document["ways"].values()] == [1, 64]
    one, many = (min(min(block) for block in each["rounds_ns"]) for each in document["reports"].values())
    assert one < many < 64 * one
    lines = edgewright("bench", built_open / "x86-avx2", "--batch", "8").out.splitlines()
    assert lines[1].split() == ["p50", "p95", "samples/s", "load", "memory"]
    assert lines[2].startswith("artifact, batch 8 ")
    assert lines[3].startswith(
        "p50 and p95 are of one call of onnxruntime.InferenceSession.run from Python: inputs are"
    )


@pytest.mark.parametrize("text", ["0", "1,", "4 8", "-1", "many"])
def test_batches_that_are_no_numbers_are_refused(text: str, built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.artifact, f"--batch={text}")
    assert (shown.code, shown.out) == (2, "")
    assert f"bench: --batch: expected numbers from 1 on, as in 1,4,16, got '{text}'" in shown.err


def test_options_of_another_runtime_are_refused(built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.artifact, "--no-cuda-graph", "--batch", "4")
    assert (shown.code, shown.out) == (2, "")
    assert "expected what an artifact for onnxruntime takes: no such option, got --no-cuda-graph" in shown.err
    assert "--batch: expected 1, for which the artifact was built" in shown.err


def test_a_folder_that_is_no_artifact_is_refused(built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.out, "--json")
    assert (shown.code, shown.out) == (2, "")
    assert f"got a folder without one (did you mean {built.artifact}?)" in shown.err
    assert "none: expected an artifact's folder, with a manifest.json" in edgewright("bench", "none").err


def test_the_other_artifact_is_checked_too(built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.artifact, "--against", built.recipe.parent)
    assert (shown.code, shown.out) == (2, "")
    assert f"{built.recipe.parent}: expected an artifact's folder" in shown.err


def test_a_device_that_is_not_there_is_named_with_those_that_are(built: Any, edgewright: Program) -> None:
    shown = edgewright("bench", built.artifact, "--on", "pi")
    assert (shown.code, shown.out) == (2, "")
    assert "expected one of local, tflite-runtime" in shown.err
    assert "got 'pi'" in shown.err


def test_a_damaged_artifact_is_not_measured(built: Any, tmp_path: Any, edgewright: Program) -> None:
    copy = built.copied(tmp_path)
    (copy.artifact / "model.onnx").write_bytes(b"something else")
    shown = edgewright("bench", copy.artifact)
    assert (shown.code, shown.out) == (2, "")
    assert "files.model.onnx: expected SHA-256" in shown.err


def test_a_runtime_that_nobody_here_knows_is_named(built: Any, tmp_path: Any, edgewright: Program) -> None:
    artifact = built.copied(tmp_path).artifact
    document = json.loads((artifact / "manifest.json").read_text())
    (artifact / "manifest.json").write_text(json.dumps({**document, "runtime": "newer"}))
    shown = edgewright("bench", artifact)
    assert (shown.code, shown.out) == (2, "")
    assert "newer: expected one of onnxruntime, tensorrt, tflite" in shown.err


def test_what_is_measured_is_the_build_that_was_published(built: Any) -> None:
    manifest = json.loads((built.artifact / "manifest.json").read_text())
    (result,) = built.ran.document()["results"]
    assert manifest["results"]["latency_ns"] == result["latency_ns"]
