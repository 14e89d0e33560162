"""`edgewright verify`: files by their hashes, outputs by the golden vectors, on the device now."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgewright.devices import registry
from edgewright.pipeline.store import devices_folder

Program = Callable[..., Any]


@pytest.mark.parametrize("which", ["", "baseline"])
def test_an_artifact_and_its_baseline_are_as_they_were_built(built: Any, edgewright: Program, which: str) -> None:
    shown = edgewright("verify", built.artifact / which)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"{built.artifact / which}: output: at most ")
    assert " steps from the golden vectors, 100.00% of the values equal, on local (" in shown.out


def test_json_says_where_it_ran_and_how_far_it_is(built: Any, edgewright: Program) -> None:
    document = json.loads(edgewright("verify", built.artifact, "--json").out)
    assert (document["schema"], document["device"], document["emulated"]) == (1, "local", False)
    assert document["identity"]["runtime"] == "onnxruntime"
    found = document["outputs"]["output"]
    assert (found["largest_steps"], found["share_equal"]) == (0, 1)
    assert found["allowed_steps"] > 0


def test_what_ran_emulated_says_so(built_tflite: Path, edgewright: Program) -> None:
    if not registry.is_ready("qemu-cortex-a72", devices_folder()):
        pytest.skip("the device is not made: edgewright devices make qemu-cortex-a72")
    shown = edgewright("verify", built_tflite, "--on", "qemu-cortex-a72")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.endswith(", on qemu-cortex-a72 (emulated Cortex-A72)\n")
    document = json.loads(edgewright("verify", built_tflite, "--on", "qemu-cortex-a72", "--json").out)
    assert (document["device"], document["emulated"]) == ("qemu-cortex-a72", True)
    assert document["identity"]["emulated"] is True
    assert "_ns" not in json.dumps(document)


def test_the_old_interpreter_gives_every_value_that_was_simulated_for_it(
    built_tflite: Path, edgewright: Program
) -> None:
    if not registry.is_ready("tflite-runtime", devices_folder()):
        pytest.skip("the device is not made: edgewright devices make tflite-runtime")
    document = json.loads(edgewright("verify", built_tflite, "--on", "tflite-runtime", "--json").out)
    if document["kernels"] is None:
        pytest.skip("this processor is none of those of which is known how the old kernels round")
    assert document["kernels"] == "tflite-runtime-x86_64"
    assert (document["outputs"]["output"]["largest_steps"], document["outputs"]["output"]["share_equal"]) == (0, 1)
    shown = edgewright("verify", built_tflite, "--on", "tflite-runtime")
    assert (
        "from the golden vectors of tflite-runtime-x86_64, 100.00% of the values equal, on tflite-runtime" in shown.out
    )


def test_it_needs_nothing_but_the_folder(built: Any, tmp_path: Path, edgewright: Program) -> None:
    copy = built.copied(tmp_path)
    moved = copy.artifact.rename(tmp_path / "somewhere else")
    assert edgewright("verify", moved).code == 0


@pytest.mark.parametrize("name", ["model.onnx", "plan.txt", "golden/outputs.npz", "reports/latency.json"])
def test_a_changed_file_is_named(built: Any, tmp_path: Path, edgewright: Program, name: str) -> None:
    artifact = built.copied(tmp_path).artifact
    (artifact / name).write_bytes((artifact / name).read_bytes() + b" ")
    shown = edgewright("verify", artifact)
    assert (shown.code, shown.out) == (2, "")
    assert f"{artifact}: files.{name}: expected SHA-256" in shown.err


def test_a_missing_file_is_named(built: Any, tmp_path: Path, edgewright: Program) -> None:
    artifact = built.copied(tmp_path).artifact
    (artifact / "model.onnx").unlink()
    shown = edgewright("verify", artifact)
    assert shown.code == 2
    assert "files.model.onnx: expected a file, got no file of that name" in shown.err


def test_another_network_under_the_same_name_fails(built: Any, tmp_path: Path, edgewright: Program) -> None:
    """Whoever forges the hashes too is found by the outputs: the float baseline does not compute what int8 does."""
    copy = built.copied(tmp_path)
    artifact = copy.artifact
    golden = dict(np.load(artifact / "golden" / "outputs.npz"))
    step = json.loads((artifact / "golden" / "golden.json").read_text())["steps"]["output"]
    np.savez(artifact / "golden" / "outputs.npz", output=golden["output"] + 100 * np.float32(step))
    copy.reseal()
    shown = edgewright("verify", artifact)
    assert (shown.code, shown.out) == (1, "")
    assert "output 'output' is 100 steps from its golden vector, expected at most" in shown.err
    assert "onnxruntime" in shown.err


def test_an_artifact_without_golden_vectors_is_refused(built: Any, tmp_path: Path, edgewright: Program) -> None:
    artifact = built.copied(tmp_path).artifact
    document = json.loads((artifact / "manifest.json").read_text())
    document["files"] = {name: entry for name, entry in document["files"].items() if not name.startswith("golden")}
    (artifact / "manifest.json").write_text(json.dumps(document))
    shown = edgewright("verify", artifact)
    assert shown.code == 2
    assert "golden: expected golden vectors, got none" in shown.err


def test_what_is_no_artifact_is_refused(built: Any, tmp_path: Path, edgewright: Program) -> None:
    shown = edgewright("verify", built.out)
    assert (shown.code, shown.out) == (2, "")
    assert f"(did you mean {built.artifact}?)" in shown.err
    (tmp_path / "manifest.json").write_text("{")
    assert f"{tmp_path}/manifest.json: expected JSON" in edgewright("verify", tmp_path).err
    (tmp_path / "manifest.json").write_text("{}")
    assert f"{tmp_path}/manifest.json: main: expected a value" in edgewright("verify", tmp_path).err


def test_a_device_that_is_not_there_is_refused(built: Any, edgewright: Program) -> None:
    shown = edgewright("verify", built.artifact, "--on", "ssh:pi")
    assert shown.code == 2
    assert "expected one of local, tflite-runtime" in shown.err
