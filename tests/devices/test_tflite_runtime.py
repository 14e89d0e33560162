"""The old interpreter as a device. `make` runs at set-up; where it could not, what needs it is skipped."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from edgewright.devices import tflite_runtime
from edgewright.ir.errors import InputError
from edgewright.pipeline.bench import verify
from edgewright.pipeline.store import devices_folder


def test_nothing_is_found_where_nothing_was_made(tmp_path: Path) -> None:
    assert tflite_runtime.find(tmp_path) is None


def test_without_its_python_it_says_which_one_it_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"expected python3\.11 on the path.*, got only Python 3\.12"):
        tflite_runtime.make(tmp_path, lambda text: None)
    assert not list(tmp_path.iterdir())


def test_an_artifact_computes_the_same_in_the_old_interpreter(built_tflite: Path) -> None:
    device = tflite_runtime.find(devices_folder())
    if device is None:
        pytest.skip("the device is not made: edgewright devices make tflite-runtime")
    for folder in (built_tflite, built_tflite / "baseline"):
        verify(folder, device)  # raises where an output is further off than another interpreter may be
    with device.start() as session:
        session.call("load", runtime="tflite", file=str(built_tflite / "model.tflite"), threads=1)
        identity = session.call("identity")
    assert (identity["runtime"], identity["runtime_version"]) == ("tflite-runtime", "2.14.0")
