"""`edgewright doctor`: every package that edgewright needs, and what to type where one is missing."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from edgewright.commands import doctor
from edgewright.devices import registry
from edgewright.devices.graphics import graphics
from edgewright.devices.machine import host_target
from edgewright.runtimes.tensorrt_build import host, verdict
from edgewright.targets import Target

Program = Callable[..., Any]
PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> list[str]:
    return [re.split(r"[><=;\[ ]", requirement)[0] for requirement in requirements]


def test_it_looks_for_every_package_that_the_project_depends_on() -> None:
    assert sorted(doctor.REQUIRED) == sorted(names(PROJECT["dependencies"]))


def test_it_looks_for_every_runtime_that_a_profile_may_name() -> None:
    assert get_args(Target.model_fields["runtime"].annotation) == tuple(doctor.RUNTIMES)
    for name, packages in doctor.RUNTIMES.items():
        brought = names(PROJECT["optional-dependencies"][doctor.EXTRAS[name]])
        assert sorted(brought) == sorted(packages)


def test_it_prints_a_line_for_each_thing(edgewright: Program) -> None:
    shown = edgewright("doctor")
    assert (shown.code, shown.err) == (0, "")
    found = dict(re.split(r" {2,}", line, maxsplit=1) for line in shown.out.splitlines())
    for name in doctor.REQUIRED:
        assert found[name] == importlib.metadata.version(name)
    assert found["target host"].startswith(f"{host_target().name} (")
    assert found["runtime onnxruntime"] == f"onnxruntime {importlib.metadata.version('onnxruntime')}"
    assert found["runtime tflite"].startswith(f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}, litert")
    assert found["device local"].startswith("this machine")


def test_json_is_one_document(edgewright: Program) -> None:
    document = json.loads(edgewright("doctor", "--json").out)
    assert document["schema"] == 1
    found = {entry["what"]: entry["found"] for entry in document["findings"]}
    assert found["torch"] == importlib.metadata.version("torch")
    assert {name for name, value in found.items() if value is None} <= {
        *(f"device {name}" for name in registry.KINDS if name != registry.LOCAL),
        *("tensorrt builder", "tensorrt engines"),
    }


def test_it_says_who_judges_models_for_gpus_and_who_runs_them(edgewright: Program) -> None:
    found = {entry["what"]: entry for entry in json.loads(edgewright("doctor", "--json").out)["findings"]}
    builder, engines = found["tensorrt builder"], found["tensorrt engines"]
    if verdict.is_installed():
        version = importlib.metadata.version(verdict.PACKAGES[0])
        assert builder["found"] == f"TensorRT for RTX {version}: parses and builds, with no GPU"
    else:
        assert builder["advice"].startswith("pip install 'edgewright[nvidia-rtx]'")
    assert (engines["found"] is not None) == host.can_run()
    if not graphics():
        assert engines["advice"] == "an NVIDIA GPU: onnxruntime proves artifacts as reference, nothing is timed"


def test_what_an_emulated_device_lacks_is_said_and_is_no_failure(
    edgewright: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = edgewright("doctor")
    assert shown.code == 0
    (line,) = [line for line in shown.out.splitlines() if line.startswith("device qemu-cortex-a72")]
    assert "MISSING: apt-get install qemu-user-static " in line
    assert line.endswith("&& edgewright devices make qemu-cortex-a72")


@pytest.mark.parametrize(
    ("which", "value", "advice"),
    [
        ("REQUIRED", ("a-package-that-nobody-has",), "pip install a-package-that-nobody-has"),
        ("RUNTIMES", {"none": ("a-package-that-nobody-has",)}, "pip install 'edgewright[none]'"),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_brings_it(
    which: str, value: Any, advice: str, monkeypatch: pytest.MonkeyPatch, edgewright: Program
) -> None:
    monkeypatch.setattr(doctor, which, value)
    shown = edgewright("doctor")
    assert shown.code == 1
    assert f"MISSING: {advice}" in shown.out
    assert edgewright("doctor", "--json").code == 1


def test_one_runtime_is_enough(monkeypatch: pytest.MonkeyPatch, edgewright: Program) -> None:
    monkeypatch.setattr(doctor, "RUNTIMES", {"onnxruntime": ("onnxruntime",), "none": ("a-runtime-that-nobody-has",)})
    shown = edgewright("doctor")
    assert shown.code == 0
    assert "MISSING: pip install 'edgewright[none]'" in shown.out
