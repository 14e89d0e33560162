"""Devices by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgewright.devices import registry
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError


def test_this_machine_is_always_ready(tmp_path: Path) -> None:
    assert registry.is_ready("local", tmp_path)
    assert registry.device_named("local", tmp_path) == LocalDevice()
    registry.make("local", tmp_path, lambda text: None)
    assert not list(tmp_path.iterdir())


def test_a_device_that_was_not_made_is_refused_with_the_command(tmp_path: Path) -> None:
    assert not registry.is_ready("tflite-runtime", tmp_path)
    with pytest.raises(InputError, match="make it: edgewright devices make tflite-runtime, got nothing in"):
        registry.device_named("tflite-runtime", tmp_path)


@pytest.mark.parametrize("act", [registry.device_named, lambda name, folder: registry.make(name, folder, print)])
def test_an_unknown_device_is_refused_with_those_that_there_are(act: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of local, tflite-runtime, got 'board'"):
        act("board", tmp_path)  # type: ignore[operator]
