"""The adapter of TensorFlow Lite's interpreters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.agent.on_tflite import TFLite


def opened(file: Path, **options: bool) -> TFLite:
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


def test_every_value_of_a_run_can_be_had(tflite_artifact: Path) -> None:
    runtime = opened(tflite_artifact, keep_tensors=True)
    (found,) = runtime.run(image())
    kept = runtime.tensors()
    assert len(kept) > 1
    details = runtime._interpreter.get_output_details()[0]
    scale, zero_point = details["quantization"]
    assert np.array_equal(kept[details["name"]], (found.astype(np.float32) - zero_point) * np.float32(scale))


def test_what_was_not_kept_is_refused(tflite_artifact: Path) -> None:
    with pytest.raises(AgentError, match="keep_tensors"):
        opened(tflite_artifact).tensors()


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
