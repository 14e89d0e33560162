"""The devices that artifacts can be run on, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..ir.errors import InputError, Problem
from . import qemu_root, tflite_runtime
from .contract import Device
from .local import LocalDevice
from .qemu import CORES

LOCAL = LocalDevice.name


@dataclass(frozen=True)
class Kind:
    """A device that there can be: how it is found in a folder, how it is made there, and what is missing for that.

    `runtimes` are those that it has and no others; empty where it has whatever is installed.
    """

    summary: str
    find: Callable[[Path], Device | None]
    make: Callable[[Path, Callable[[str], None]], Device]
    missing: Callable[[Path], str] = lambda folder: ""
    runtimes: tuple[str, ...] = ()


KINDS = {
    LOCAL: Kind(
        "this machine, with the runtimes that are installed beside edgewright",
        lambda folder: LocalDevice(),
        lambda folder, say: LocalDevice(),
    ),
    tflite_runtime.NAME: Kind(
        "this machine, with tflite-runtime 2.14, the old interpreter that many boards still have",
        tflite_runtime.find,
        tflite_runtime.make,
        runtimes=("tflite",),
    ),
    **{
        core.device: Kind(
            f"a {core.name} emulated by qemu, with LiteRT for 64-bit ARM: proves artifacts, can't time them",
            partial(qemu_root.find, core),
            partial(qemu_root.make, core),
            qemu_root.missing,
            runtimes=("tflite",),
        )
        for core in CORES
    },
}
SUMMARIES = {name: kind.summary for name, kind in KINDS.items()}


def is_ready(name: str, folder: Path) -> bool:
    """Whether the device can be used as it is."""
    return KINDS[name].find(folder) is not None


def how_to_make(name: str, folder: Path) -> str:
    """What to type so that the device can be used."""
    missing, command = KINDS[name].missing(folder), f"edgewright devices make {name}"
    return f"{missing} && {command}" if missing else command


def device_named(name: str, folder: Path) -> Device:
    """The device of that name; what has to be made for it lies in `folder`. InputError where it is not, or unknown."""
    _check(name)
    found = KINDS[name].find(folder)
    if found is None:
        expected = f"a device that was made; make it: {how_to_make(name, folder)}"
        raise InputError(Problem("devices", name, expected, f"nothing in {folder} that can be started"))
    return found


def make(name: str, folder: Path, say: Callable[[str], None]) -> None:
    """The device can be used; what was made before is kept. InputError, StepError."""
    _check(name)
    KINDS[name].make(folder, say)


def refuse_emulated(device: Device, command: str) -> None:
    """Nothing, where what is timed on the device is worth something. InputError where it is emulated."""
    if device.is_emulated:
        found = f"'{device.name}', which is emulated: its time says nothing about a device (verify can run there)"
        raise InputError(Problem(command, "device", "a device that computes with its own processor", found))


def refuse_foreign(device: Device, runtime: str, artifact: Path) -> None:
    """Nothing, where the device may have the artifact's runtime. InputError where it is made without it."""
    kind = KINDS.get(device.name)
    if kind is not None and kind.runtimes and runtime not in kind.runtimes:
        expected = f"an artifact for {' or '.join(kind.runtimes)}, which is what {device.name} runs"
        raise InputError(Problem(str(artifact), "runtime", expected, f"one for {runtime}; run it with --on {LOCAL}"))


def _check(name: str) -> None:
    if name not in KINDS:
        raise InputError(Problem("devices", name, f"one of {', '.join(KINDS)}", f"'{name}'"))
