from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError
from edgewright.runtimes import EMITTERS, Coverage, Emitted, emitter, open_prover
from edgewright.runtimes.tensorrt_build import host

LIGHT = """
import sys
from edgewright.runtimes import emitter
assert [fact.name for fact in emitter("onnxruntime").needs] == ["exported"]
heavy = {"torch", "onnx", "onnxruntime", "onnxscript", "numpy"} & set(sys.modules)
sys.exit(f"imported: {sorted(heavy)}" if heavy else 0)
"""


def test_asking_for_needs_imports_nothing_heavy() -> None:
    found = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_an_unknown_emitter_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of onnxruntime, tensorrt, tflite, got 'abacus'"):
        emitter("abacus")


def test_what_proves_an_artifact_is_its_runtime_or_what_stands_in_for_it(
    quantized_models: ModuleType, tmp_path: Path
) -> None:
    references = {name: each.reference() for name, each in EMITTERS.items()}
    assert (references["onnxruntime"], references["tflite"]) == (None, None)
    assert (references["tensorrt"] is None) == host.can_run()
    file = quantized_models.convolution(tmp_path / "model.onnx")
    with open_prover("tensorrt", LocalDevice(), file) as runner:
        assert runner.runtime == ("tensorrt" if host.can_run() else "onnxruntime")


def test_what_a_runtime_loads_is_the_model_and_its_weights_and_nothing_beside() -> None:
    emitted = Emitted("model.onnx", ("README.md", "model.onnx", "model.onnx.data", "model.h"), 0, 0, 0, Coverage(0, 0))
    assert emitted.loaded == ("model.onnx", "model.onnx.data")
