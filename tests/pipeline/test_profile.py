"""profile: real artifacts, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgewright.devices.local import LocalDevice
from edgewright.devices.qemu import CORES, QemuDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.pipeline.profile import profile


def test_operators_have_the_names_of_the_users_modules(built: Any) -> None:
    found = profile(built.artifact, LocalDevice(), None, runs=20)
    kinds = {each.name: each.operator for each in found.operators}
    assert {kinds["stem.0"], kinds["body.0"]} == {"QLinearConv"}
    assert "head" in kinds
    assert sum(each.share for each in found.operators) == pytest.approx(1)
    assert all(each.median_ns >= 0 for each in found.operators)
    assert (found.runs, found.threads) == (20, 1)
    assert found.runtime.startswith("onnxruntime ")


def test_fused_float_layers_have_them_too(built: Any) -> None:
    names = {each.name for each in profile(built.artifact / "baseline", LocalDevice(), 2, runs=5).operators}
    assert {"stem.0", "body.0", "head"} <= names


def test_an_interpreter_without_a_profiler_is_said_to_have_none(built_tflite: Path) -> None:
    with pytest.raises(StepError, match="tells Python nothing of how long its operators take"):
        profile(built_tflite, LocalDevice(), None)


def test_an_emulated_device_is_never_timed(built: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"profile: device: .*'qemu-cortex-a53', which is emulated"):
        profile(built.artifact, QemuDevice(CORES[0], tmp_path, "qemu-aarch64-static"), None)
