from __future__ import annotations

import subprocess
import sys

import pytest
from edgewright.ir.errors import InputError
from edgewright.runtimes import emitter

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
    with pytest.raises(InputError, match="expected one of onnxruntime, tflite, got 'abacus'"):
        emitter("abacus")
