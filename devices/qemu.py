"""ARM boards that are emulated: the agent under an aarch64 Python in qemu's user mode.

They prove what an artifact computes on ARM. How long anything takes in them says nothing about a device, and nothing
that is timed here is reported. The guest sees the files of its root (devices/qemu_root.py) in the place of the host's,
and the host's own wherever the root has none (qemu's `-L`), so that artifacts and arrays need not be copied.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .agent.identity import EMULATED
from .local import START, AgentSession

EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
"""Programs that emulate one process of 64-bit ARM, of Debian's qemu-user-static and qemu-user; the first found runs."""
HOW_EMULATOR = "apt-get install qemu-user-static"
PYTHON = Path("usr/bin/python3.11")
V8_0 = "fp asimd evtstrm crc32 cpuid"


@dataclass(frozen=True)
class Core:
    """A core of Arm's: its name as qemu has it, its part number, and its features as Linux's /proc/cpuinfo has them.

    Always one that is named: in qemu's default, `max`, XNNPACK takes SME kernels that compute wrong numbers there. The
    features must be the core's own: XNNPACK believes them, and an instruction that the core lacks ends the process.
    """

    name: str
    part: str
    features: str

    @property
    def device(self) -> str:
        """The name of the device that emulates it."""
        return f"qemu-{self.name}"

    def cpuinfo(self) -> str:
        """What /proc/cpuinfo says on a board with one such core (Linux, arch/arm64/kernel/cpuinfo.c)."""
        lines = {
            "processor": "0",
            "Features": self.features,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": "0x0",
            "CPU part": self.part,
            "CPU revision": "3",
        }
        return "".join(f"{key}\t: {value}\n" for key, value in lines.items()) + "\n"


CORES = (
    Core("cortex-a53", "0xd03", V8_0),
    Core("cortex-a72", "0xd08", V8_0),
    Core("cortex-a76", "0xd0b", f"{V8_0} aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
)
"""The cores of Raspberry Pi 3, 4 and 5; features: Arm's manuals DDI 0500, 100095 and 100798, as Linux names them."""


@dataclass(frozen=True)
class QemuDevice:
    """One emulated core; `root` is the folder whose files the guest sees first."""

    core: Core
    root: Path
    emulator: str
    is_emulated: bool = True

    @property
    def name(self) -> str:
        """The device's name, which says what it is."""
        return self.core.device

    def python(self, text: str, *arguments: str) -> tuple[str, ...]:
        """What has the board's Python run the text; no variable of the host's that changes a process reaches it."""
        unset = ("-U", "LD_PRELOAD", "-U", "LD_LIBRARY_PATH")
        qemu = (self.emulator, "-cpu", self.core.name, "-L", str(self.root), *unset)
        return (*qemu, str(self.root / PYTHON), "-I", "-u", "-c", text, *arguments)

    def start(self) -> AgentSession:
        """A new agent on the emulated core."""
        return AgentSession(self.python(START, EMULATED))


def emulator() -> str | None:
    """The program that emulates; None where none is installed."""
    return next((found for each in EMULATORS if (found := shutil.which(each))), None)
