"""The adapter of TensorFlow Lite's interpreters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgewright.devices import tflite_runtime
from edgewright.devices.agent import tflite_file
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.agent.on_tflite import TFLite
from edgewright.ir.errors import StepError
from edgewright.pipeline.store import devices_folder


def opened(file: Path, **options: Any) -> TFLite:
    runtime = TFLite(TFLite.library(), str(file), 1, options)
    runtime.open()
    return runtime


def image() -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 1), np.int8)}


def test_inputs_and_outputs_are_called_as_the_signature_says(tflite_artifact: Path) -> None:
    runtime = opened(tflite_artifact)
    assert runtime.inputs == [("image", [1, 8, 8, 1], "int8")]
    assert runtime.outputs == ["output"]
    (found,) = runtime.run(image())
    assert (found.shape, found.dtype) == ((1, 4), np.dtype("int8"))


def test_without_xnnpack_the_same_is_computed(tflite_artifact: Path) -> None:
    """TFLite's own kernels and XNNPACK's round alike but for a step here and there."""
    fast, plain = opened(tflite_artifact).run(image())[0], opened(tflite_artifact, xnnpack=False).run(image())[0]
    assert np.abs(fast.astype(int) - plain).max() <= 1


def test_values_of_a_run_can_be_had_as_they_are(tflite_artifact: Path) -> None:
    computed = tflite_file.read(str(tflite_artifact)).computed
    plain = opened(tflite_artifact, xnnpack=False)
    names = {entry["index"]: entry["name"] for entry in plain._interpreter.get_tensor_details()}
    wanted = [names[index] for index in reversed(computed)]
    runtime = opened(tflite_artifact, keep_tensors=wanted)
    (found,) = runtime.run(image())
    kept = runtime.tensors()
    assert len(kept) > 1
    assert list(kept) == wanted
    assert np.array_equal(kept["output"], found)
    assert np.array_equal(found, opened(tflite_artifact).run(image())[0])  # XNNPACK computes, as it always does


def test_what_was_not_kept_or_is_not_there_is_refused(tflite_artifact: Path) -> None:
    with pytest.raises(AgentError, match="keep_tensors"):
        opened(tflite_artifact).tensors()
    runtime = opened(tflite_artifact, keep_tensors=["nothing"])
    runtime.run(image())
    with pytest.raises(AgentError, match="expected one computed value called 'nothing', found 0"):
        runtime.tensors()


def test_it_says_that_it_has_no_profile(tflite_artifact: Path) -> None:
    with pytest.raises(AgentError, match=r"profile: ai-edge-litert .* tells Python nothing of how long"):
        opened(tflite_artifact, profile=True)
    with pytest.raises(AgentError, match="load option profile"):
        opened(tflite_artifact).profiled()


def test_a_file_for_a_newer_interpreter_says_which_operator(tflite_artifact: Path, tmp_path: Path) -> None:
    from edgewright.runtimes.flatbuffer.file import read, write

    model = read(tflite_artifact)
    for code in model.operatorCodes:
        code.version = 99
    write(model, tmp_path / "newer.tflite")
    with pytest.raises(AgentError, match=r"expected a file that ai-edge-litert .* can run, which says: .*version.*99"):
        opened(tmp_path / "newer.tflite")


def test_the_package_and_its_version_are_told() -> None:
    package, version = TFLite.version(TFLite.library())
    assert package == "ai-edge-litert"
    assert version.count(".") == 2


def test_the_old_interpreter_is_not_believed_to_keep_what_it_computes(built_tflite: Path) -> None:
    device = tflite_runtime.find(devices_folder())
    if device is None:
        pytest.skip("the device is not made: edgewright devices make tflite-runtime")
    file, options = str(built_tflite / "model.tflite"), {"keep_tensors": ["output"]}
    with device.start() as session, pytest.raises(StepError, match=r"keep_tensors: tflite-runtime .* writes sums over"):
        session.call("load", runtime="tflite", file=file, threads=1, options=options)
