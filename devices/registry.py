"""The devices that artifacts can be run on, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..ir.errors import InputError, Problem
from . import tflite_runtime
from .contract import Device
from .local import LocalDevice

LOCAL = LocalDevice.name
SUMMARIES = {
    LOCAL: "this machine, with the runtimes that are installed beside edgewright",
    tflite_runtime.NAME: "this machine, with tflite-runtime 2.14, the old interpreter that many boards still have",
}


def is_ready(name: str, folder: Path) -> bool:
    """Whether the device can be used as it is."""
    return name == LOCAL or tflite_runtime.find(folder) is not None


def device_named(name: str, folder: Path) -> Device:
    """The device of that name; what has to be made for it lies in `folder`. InputError where it is not, or unknown."""
    _check(name)
    if name == LOCAL:
        return LocalDevice()
    found = tflite_runtime.find(folder)
    if found is None:
        expected = f"a device that was made; make it: edgewright devices make {name}"
        raise InputError(Problem("devices", name, expected, f"nothing in {folder}"))
    return found


def make(name: str, folder: Path, say: Callable[[str], None]) -> None:
    """The device can be used; what was made before is kept. InputError, StepError."""
    _check(name)
    if name != LOCAL:
        tflite_runtime.make(folder, say)


def _check(name: str) -> None:
    if name not in SUMMARIES:
        raise InputError(Problem("devices", name, f"one of {', '.join(SUMMARIES)}", f"'{name}'"))
