"""The suite's script for a machine with a GPU: without one it says so, on a GPU that is none it does everything."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from edgewright.runtimes.tensorrt_build import host

SUITE = Path(__file__).resolve().parents[2] / "benchmarks" / "suite"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script as a module; its results go to the test's folder."""
    monkeypatch.syspath_prepend(str(SUITE))
    module = importlib.import_module("nvidia_device")
    monkeypatch.setattr(module._measure, "RESULTS", tmp_path / "results")
    return module


@pytest.mark.skipif(host.can_run(), reason="there is a GPU, with TensorRT")
def test_without_a_gpu_it_ends_with_what_is_missing(built_tensorrt: Path) -> None:
    command = [sys.executable, SUITE / "nvidia_device.py", built_tensorrt]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("not run: this machine lacks ")


@pytest.fixture
def run(script: ModuleType, gpu_here: Any, gpu_here_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """run(artifact, ...): the exit code, on a GPU that is none and in no time."""
    gpu_here_module.in_no_time(monkeypatch)
    monkeypatch.setattr(host, "why_not", str)

    def call(*arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["nvidia_device.py", *map(str, arguments)])
        code: int = script.main()
        return code

    return call


def test_everything_is_in_the_results(run: Any, built_tensorrt: Path, tmp_path: Path) -> None:
    before = {path.name for path in built_tensorrt.iterdir()}
    assert run(built_tensorrt) == 0
    assert {path.name for path in built_tensorrt.iterdir()} == before
    rows = json.loads((tmp_path / "results" / "nvidia_device.json").read_text())["rows"]
    assert [build["engine"]["timing_cache"] for build in rows["builds"]] == ["written", "reused"]
    assert rows["verify"]["reference_runtime"] is None
    ways = rows["bench"]["ways"].values()
    assert {(way["precision"].split()[0], way["batch"], way["cuda_graph"]) for way in ways} == {
        (precision, batch, graph)
        for precision in ("fp32", "fp16", "int8")
        for batch in (1, 16)
        for graph in (False, True)
    }
    assert [each["name"] for each in rows["layers"]["operators"]] == ["first + second", "third"]
    text = (tmp_path / "results" / "nvidia_device.md").read_text()
    assert text.startswith("# nvidia-rtx-ada on NVIDIA Pretence\n")
    assert "engine alone" in text
    assert "tensorrt 10.16.1, CUDA of the driver 13.0; written by" in text


def test_what_fails_has_its_exit_code(
    run: Any, built_tensorrt: Path, built: Any, gpu_here: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(built.artifact) == 2
    assert "runtime: expected an artifact for tensorrt, got onnxruntime" in capsys.readouterr().err
    gpu_here.in_float = ["stem.0"]
    copy = Path(shutil.copytree(built_tensorrt, tmp_path / "copy"))
    assert run(copy) == 1
    assert "these run in float: stem.0" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
