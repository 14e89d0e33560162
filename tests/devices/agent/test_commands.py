from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgewright.devices.local import AGENT, AgentSession, LocalDevice
from edgewright.ir.errors import StepError
from onnx import TensorProto, helper, numpy_helper

WITH_RUNTIME = """
import os, runpy, signal, sys, time
sys.path.append(sys.argv[1])
from agent import commands

class Library:
    __name__, __version__ = "trial", "1"

class Trial:
    package, timed, options = "trial", "nothing", {"fast": bool}
    inputs, outputs = [("x", [1], "float32")], ["y"]
    def __init__(self, library, file, threads, options):
        print("a library prints")
        os.write(1, b"a library writes\\n")
    @staticmethod
    def library():
        return Library()
    @staticmethod
    def version(library):
        return library.__name__, library.__version__
    def open(self):
        pass
    def run(self, feeds):
        BODY
        return [feeds["x"]]

commands.RUNTIMES["trial"] = Trial
runpy.run_module("agent", run_name="__main__")
"""


def trial(body: str) -> AgentSession:
    """An agent with one more runtime, whose inference is `body`."""
    return AgentSession((sys.executable, "-u", "-c", WITH_RUNTIME.replace("BODY", body), str(AGENT.parent)))


def linear(file: Path, batch: int | str, weights: np.ndarray) -> Path:
    """An ONNX file that multiplies x (batch, n) by `weights` (n, m)."""
    rows, columns = weights.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, columns])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((3, 2)).astype(np.float32)


def test_it_stands_alone_and_is_python_3_9() -> None:
    found: set[str] = set()
    for file in AGENT.glob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 9))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        found |= {alias.name.partition(".")[0] for node in imports for alias in node.names}
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert all(node.level <= 1 for node in froms), file
        found |= {str(node.module).partition(".")[0] for node in froms if not node.level}
    assert found - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_it_feeds_the_artifacts_own_batch(tmp_path: Path, weights: np.ndarray, batch: int | str) -> None:
    samples = np.random.default_rng(2).standard_normal((10, 3)).astype(np.float32)
    with LocalDevice().start() as session:
        loaded = session.call(
            "load", runtime="onnxruntime", file=str(linear(tmp_path / "a.onnx", batch, weights)), threads=1
        )
        files = session.output_files(1)
        ran = session.call("run", inputs=session.send({"x": samples}), outputs=files)
        (outputs,) = session.receive(files)
    assert loaded["outputs"] == ["y"]
    assert ran == {"samples": 10, "batch": batch if isinstance(batch, int) else 1}
    assert outputs.shape == (10, 2)
    assert np.abs(outputs - samples @ weights).max() <= np.finfo(np.float32).eps * np.abs(samples @ weights).max() * 3


def test_what_was_kept_lies_in_a_folder_after_one_inference_and_no_more(tmp_path: Path, weights: np.ndarray) -> None:
    file, sample = linear(tmp_path / "a.onnx", 1, weights), np.ones((1, 3), np.float32)
    with LocalDevice().start() as session:
        session.call("load", runtime="onnxruntime", file=str(file), threads=1, options={"keep_tensors": ["w"]})
        with pytest.raises(StepError, match="expected one inference since the last request, found 0"):
            session.call("tensors", folder=str(tmp_path))
        session.call("run", inputs=session.send({"x": sample}), outputs=session.output_files(1))
        ((name, kept),) = session.call("tensors", folder=str(tmp_path))["files"]
        assert (name, Path(kept).parent) == ("w", tmp_path)
        assert np.array_equal(np.load(kept), weights)
        session.call("run", inputs=session.send({"x": np.ones((2, 3), np.float32)}), outputs=session.output_files(1))
        with pytest.raises(StepError, match="expected one inference since the last request, found 2"):
            session.call("tensors", folder=str(tmp_path))


def test_a_profile_is_of_the_runs_that_were_asked_for(tmp_path: Path, weights: np.ndarray) -> None:
    file = linear(tmp_path / "a.onnx", 1, weights)
    with LocalDevice().start() as session:
        session.call("load", runtime="onnxruntime", file=str(file), threads=1, options={"profile": True})
        session.call("time", runs=5)
        found = session.call("profile", runs=7)
        assert len(found["samples_ns"]) == 7
        ((_, operator, samples),) = found["operators"]
        assert (operator, len(samples)) == ("MatMul", 7)
        with pytest.raises(StepError, match="expected the load option profile"):
            session.call("profile", runs=1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, r"input 'x': expected float32 \['N', 3\], got float32 \['N', 4\]"),
        ({"x": np.zeros((2, 3), np.float64)}, r"expected float32 \['N', 3\], got float64"),
        ({"x": np.zeros((0, 3), np.float32)}, "at least one"),
        ({"z": np.zeros((2, 3), np.float32)}, r"expected \['x'\], got \['z'\]"),
    ],
)
def test_wrong_inputs_are_refused_and_it_lives_on(
    tmp_path: Path, weights: np.ndarray, arrays: dict[str, np.ndarray], message: str
) -> None:
    with LocalDevice().start() as session:
        session.call("load", runtime="onnxruntime", file=str(linear(tmp_path / "a.onnx", 1, weights)), threads=1)
        with pytest.raises(StepError, match=message):
            session.call("run", inputs=session.send(arrays), outputs=session.output_files(1))
        assert len(session.call("time", runs=3)["samples_ns"]) == 3


def test_bad_requests_are_answered(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with LocalDevice().start() as session:
        with pytest.raises(StepError, match="no artifact is loaded"):
            session.call("time", runs=1)
        with pytest.raises(StepError, match="expected one of load, run"):
            session.call("fly")
        with pytest.raises(StepError, match="unexpected keyword argument 'speed'"):
            session.call("time", speed=3)
        with pytest.raises(StepError, match="expected one of onnxruntime, tflite, tensorrt, got 'tflight'"):
            session.call("load", runtime="tflight", file=str(broken), threads=1)
        with pytest.raises(StepError, match=r"none\.onnx: expected an artifact's file"):
            session.call("load", runtime="onnxruntime", file=str(tmp_path / "none.onnx"), threads=1)
        with pytest.raises(StepError, match="only batch, keep_tensors, profile, unoptimized, got 'speed'"):
            session.call("load", runtime="onnxruntime", file=str(broken), threads=1, options={"speed": 3})
        with pytest.raises(StepError, match=r"options.xnnpack: expected bool, got 'off'"):
            session.call("load", runtime="tflite", file=str(broken), threads=1, options={"xnnpack": "off"})
        with pytest.raises(StepError, match="Protobuf parsing failed"):
            session.call("load", runtime="onnxruntime", file=str(broken), threads=1)


def test_what_a_library_prints_does_not_mix_with_the_answers(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    with trial("print('and prints again')") as session:
        assert session.call("load", runtime="trial", file=str(artifact), threads=1)["outputs"] == ["y"]
        assert len(session.call("time", runs=5)["samples_ns"]) == 5


def test_a_crash_in_the_runtime_names_the_signal_and_the_place(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    with (
        trial("os.kill(os.getpid(), signal.SIGSEGV)") as session,
        pytest.raises(StepError, match=r"(?s)died during 'load' \(signal SIGSEGV\).*_timed_run"),
    ):
        session.call("load", runtime="trial", file=str(artifact), threads=1)


def test_a_runtime_that_is_not_installed_is_named_with_the_command(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    hide = WITH_RUNTIME.replace("BODY", "pass").replace("return Library()", "import a_library_that_nobody_has")
    with (
        AgentSession((sys.executable, "-u", "-c", hide, str(AGENT.parent))) as session,
        pytest.raises(StepError, match=r"trial is not installed for .*: pip install trial"),
    ):
        session.call("load", runtime="trial", file=str(artifact), threads=1)


def test_warm_up_ends_when_steady_or_when_the_time_is_up(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    with trial("time.sleep(0.005)") as session:
        session.call("load", runtime="trial", file=str(artifact), threads=1)
        assert session.call("warm_up", limit_seconds=20)["steady"]
    wild = "Trial.runs = getattr(Trial, 'runs', 0) + 1; time.sleep(0.001 * Trial.runs)"
    with trial(wild) as session:
        session.call("load", runtime="trial", file=str(artifact), threads=1)
        answer = session.call("warm_up", limit_seconds=0.2)
    assert not answer["steady"]
    assert answer["median_ns"] > 1_000_000


def test_time_spans_the_inference_alone(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    artifact.touch()
    with trial("time.sleep(0.01)") as session:
        session.call("load", runtime="trial", file=str(artifact), threads=1)
        samples = session.call("time", runs=5)["samples_ns"]
    assert all(isinstance(sample, int) and sample >= 10_000_000 for sample in samples)


def test_identity_says_what_ran(tmp_path: Path, weights: np.ndarray) -> None:
    with LocalDevice().start() as session:
        session.call("load", runtime="onnxruntime", file=str(linear(tmp_path / "a.onnx", 1, weights)), threads=1)
        identity = session.call("identity")
    import onnxruntime

    assert identity["runtime_version"] == onnxruntime.__version__
    assert identity["numpy"] == np.__version__
    assert identity["threads"] == 1
    assert identity["cpu"]
    assert len(identity["load_average"]) == 3


def test_memory_is_that_of_loading_and_not_of_the_data(tmp_path: Path, weights: np.ndarray) -> None:
    heavy_bytes = 64 << 20
    heavy = np.ones((heavy_bytes // 4 // 16, 16), np.float32)
    peaks = []
    for name, values in (("light", weights), ("heavy", heavy)):
        with LocalDevice().start() as session:
            loaded = session.call(
                "load", runtime="onnxruntime", file=str(linear(tmp_path / name, 1, values)), threads=1
            )
        peaks.append(loaded["peak_rss_bytes"])
        assert loaded["peak_rss_bytes"] > loaded["rss_before_load_bytes"] > 0
    assert peaks[1] - peaks[0] > heavy_bytes / 2
