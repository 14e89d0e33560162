"""A microcontroller's limits and an accelerator's gaps, read from a real file."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.ir.errors import StepError
from edgewright.runtimes.flatbuffer.device import BYTES_PER_KIB, limits, remarks
from edgewright.targets import load_target

MICRO, ANDROID = (load_target(name, Path("/")) for name in ("arm-cortex-m", "android-arm64"))


def test_a_microcontroller_has_an_arena_and_flash(tflite_artifact: Path) -> None:
    arena, flash = limits(tflite_artifact, MICRO)
    assert (arena.key, flash.key) == ("micro.arena_kib", "micro.flash_kib")
    assert MICRO.micro is not None
    assert (arena.most, flash.most) == (MICRO.micro.arena_kib, MICRO.micro.flash_kib)
    assert flash.found * BYTES_PER_KIB >= tflite_artifact.stat().st_size
    assert 0 < arena.found < arena.most


def test_an_operator_that_its_interpreter_lacks_is_refused(tflite_artifact: Path) -> None:
    assert MICRO.micro is not None
    small = MICRO.model_copy(update={"micro": MICRO.micro.model_copy(update={"operators": ("ADD",)})})
    with pytest.raises(StepError, match=r"arm-cortex-m can't run the file: .*CONV_2D"):
        limits(tflite_artifact, small)


def test_other_targets_have_no_such_limits(tflite_artifact: Path) -> None:
    assert limits(tflite_artifact, ANDROID) == ()


def test_a_delegate_that_would_leave_operators_out_is_told(tflite_artifact: Path) -> None:
    gpu, nnapi = remarks(tflite_artifact, ANDROID)
    assert gpu.startswith("delegate gpu (not run here, by its documentation)")
    assert gpu.endswith("it computes int8 files in float")
    assert "takes every operator" in nnapi
    without = ANDROID.delegates["nnapi"].model_copy(update={"operators": ("ADD",)})
    (said,) = remarks(tflite_artifact, ANDROID.model_copy(update={"delegates": {"nnapi": without}}))
    assert "leaves to the CPU: 1 CONV_2D, 1 DEPTHWISE_CONV_2D, 1 FULLY_CONNECTED" in said
