"""What ran an artifact: processor, instruction sets, clocks, load, and versions of everything that counts."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

FLAGS = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "amx_int8", "amx_tile"),
    *("asimd", "asimddp", "i8mm", "sve", "bf16", "fphp"),
)
"""Instruction sets that decide how fast quantized kernels are, in the names of Linux's /proc/cpuinfo."""
EMULATED = "emulated"
"""What whoever starts the agent under an emulator says on its command line: the agent itself can't see it."""
ARM = "0x41"
PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd44": "Cortex-X1",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
}
"""Arm's cores by the `CPU part` of /proc/cpuinfo (Linux, arch/arm64/include/asm/cputype.h)."""


def identity() -> dict[str, Any]:
    """What this process runs on, as it is now; None for each thing that the system does not tell."""
    import numpy

    found = processor(read("/proc/cpuinfo") or "")
    return {
        "cpu": found["model"] or platform.processor() or platform.machine(),
        "emulated": EMULATED in sys.argv[1:],
        "architecture": platform.machine(),
        "logical_cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in found["flags"]],
        "clock_mhz": found["clock_mhz"],
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "temperature_celsius": _temperature(),
        "load_average": list(os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": numpy.__version__,
    }


def processor(text: str) -> dict[str, Any]:
    """Model, flags and clock of the first core that a /proc/cpuinfo tells of; Arm's name no model but a part."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags") or values.get("Features") or ""
    clock = values.get("cpu MHz")
    part = PARTS.get(values.get("CPU part", "")) if values.get("CPU implementer") == ARM else None
    return {
        "model": values.get("model name") or part or values.get("Hardware"),
        "flags": flags.split(),
        "clock_mhz": float(clock) if clock else None,
    }


def read(path: str) -> str | None:
    """The text of a file of the system's; None where it can't be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return None


def _temperature() -> float | None:
    """The hottest thermal zone that the kernel shows."""
    zones = [read(f"/sys/class/thermal/thermal_zone{zone}/temp") for zone in range(32)]
    return max((int(text) / 1000 for text in zones if text), default=None)
