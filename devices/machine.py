"""The machine at work: its instruction set, cores, caches and memory, and the profile that fits it.

Everything is read from Linux's /proc and /sys (proc(5), sysfs-devices-system-cpu, cgroups(7)); nothing is imported
that takes long to import.
"""

from __future__ import annotations

import math
import os
import platform
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ..ir.errors import InputError, Problem
from ..targets import HOST, NAME_FORM, Hardware, Target, builtin_names, matching
from .graphics import gpu_profile, graphics, unlike

ROOT = Path("/")
KERNEL_FLAGS = ("sse4_", "avx", "fma", "f16c", "amx_")
"""How the flags begin that quantized and float kernels are chosen by; the other flags say nothing about speed."""


@dataclass(frozen=True)
class Machine:
    """What was read of one machine; `flags` are those of /proc/cpuinfo."""

    architecture: str
    flags: frozenset[str]
    hardware: Hardware


def this_machine(root: Path = ROOT) -> Machine:
    """The machine that this process runs on, as the files under `root` tell. InputError where they tell too little."""
    processor, memory = _pairs(_read(root / "proc/cpuinfo")), _pairs(_read(root / "proc/meminfo"))
    flags = processor.get("flags") or processor.get("Features", "")
    memory_kib = memory.get("MemTotal", "").removesuffix("kB").strip()
    if not flags or not memory_kib:
        found = f"{platform.system()} on {platform.machine()}, whose /proc does not"
        raise InputError(Problem(HOST, "", "a Linux machine whose /proc tells its CPU flags and its memory", found))
    hardware = Hardware(
        cpu=processor.get("model name", "unknown"),
        cores=usable_cores(root),
        l1d_kib=_cache_kib(root, "1", "Data"),
        l2_kib=_cache_kib(root, "2", "Unified"),
        l3_kib=_cache_kib(root, "3", "Unified"),
        memory_mib=int(memory_kib) // 1024,
        source="read from /proc and /sys",
    )
    return Machine(platform.machine(), frozenset(flags.split()), hardware)


def usable_cores(root: Path = ROOT) -> int:
    """How many cores this process may keep busy: by its CPU affinity or its control group's quota, the smaller."""
    shares = [share for folder in _control_groups(root) if (share := _quota(folder)) is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *map(math.ceil, shares)]))


def host_target() -> Target:
    """The built-in profile that fits this machine; InputError, with what is missing for each, where none does."""
    machine = this_machine()
    return matching(machine.architecture, machine.flags)


def mismatches(target: Target, machine: Machine) -> tuple[str, ...]:
    """Why what is measured on this machine is not what the target's own machine would show; empty where it is.

    A profile of a class of devices asks for an instruction set or a GPU; one of a single machine for that very machine.
    """
    if machine.architecture != target.isa.architecture:
        return (f"it is {machine.architecture}, not {target.isa.architecture}",)
    missing = [flag for flag in target.isa.flags if flag not in machine.flags]
    reasons = [f"it has no {' '.join(missing)}"] if missing else []
    reasons += unlike(target, graphics()) if target.gpu is not None else ()
    if target.hardware is None:
        return tuple(reasons)
    wanted, found = target.hardware, machine.hardware
    pairs = {
        "CPU": (wanted.cpu, found.cpu),
        "cores": (wanted.cores, found.cores),
        "L1d KiB": (wanted.l1d_kib, found.l1d_kib),
        "L2 KiB": (wanted.l2_kib, found.l2_kib),
        "L3 KiB": (wanted.l3_kib, found.l3_kib),
    }
    reasons += [
        f"{what}: {'unknown' if here is None else here}, not {there}"
        for what, (there, here) in pairs.items()
        if there not in (None, here)
    ]
    return tuple(reasons)


def probe_profile(name: str) -> str:
    """A profile of this machine, as the text of a YAML file: the profile that fits it, plus its own numbers.

    InputError where the name is taken or no name, or no profile fits.
    """
    taken = (*builtin_names(), HOST)
    if name in taken or not re.fullmatch(NAME_FORM, name):
        expected = f"a name of the form {NAME_FORM}, and none of {', '.join(taken)}"
        raise InputError(Problem("probe", "name", expected, f"'{name}'"))
    base, machine = host_target(), this_machine()
    found = machine.hardware
    flags = sorted(flag for flag in machine.flags if flag.startswith(KERNEL_FLAGS))
    source = f"measured by `edgewright targets probe` on {found.cpu}, {date.today().isoformat()}"
    caches = {"l1d_kib": found.l1d_kib, "l2_kib": found.l2_kib, "l3_kib": found.l3_kib}
    lines = [
        "# One machine, as `edgewright targets probe` found it. Edit what you know better, and say its source.",
        *(f"# Beside the processor: {line}" for line in gpus_here()),
        f"name: {name}",
        f"summary: {_quoted(f'{found.cpu}, {found.cores} cores, {found.memory_mib} MiB')}",
        f"extends: {base.name}  # number format, operators and channel multiple come from there",
        "isa:",
        f"  architecture: {machine.architecture}",
        "  # everything that kernels are chosen by; the profile fits machines that have it all",
        f"  flags: [{', '.join(flags)}]",
        f"  source: {_quoted(source)}",
        "hardware:",
        f"  cpu: {_quoted(found.cpu)}",
        f"  cores: {found.cores}  # that a process may use: CPU affinity and control group quota",
        *(f"  {key}: {size}" for key, size in caches.items() if size is not None),
        f"  memory_mib: {found.memory_mib}",
        f"  source: {_quoted(source)}",
    ]
    return "\n".join(lines) + "\n"


def gpus_here() -> tuple[str, ...]:
    """A line for each NVIDIA GPU of this machine: what it is, and which profile is its own."""
    lines = []
    for found in graphics():
        profile = gpu_profile(found)
        fits = f"the profile {profile.name} fits it" if profile else "no profile that comes with edgewright fits it"
        lines.append(f"{found}; {fits}")
    return tuple(lines)


def _quoted(text: str) -> str:
    """A YAML single-quoted scalar."""
    return "'" + text.replace("'", "''") + "'"


def _read(path: Path) -> str:
    """The file's text; empty where there is none that can be read: each kernel and container shows other files."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _pairs(text: str) -> dict[str, str]:
    """`key : value` lines as a mapping; of several processors the first one's."""
    pairs: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            pairs.setdefault(key.strip(), value.strip())
    return pairs


def _cache_kib(root: Path, level: str, kind: str) -> int | None:
    for folder in sorted(root.glob("sys/devices/system/cpu/cpu0/cache/index*")):
        if (_read(folder / "level").strip(), _read(folder / "type").strip()) == (level, kind):
            size = _read(folder / "size").strip().removesuffix("K")
            return int(size) if size.isdecimal() else None
    return None


def _control_groups(root: Path) -> list[Path]:
    """Folders that may limit this process: version 2 (its own and every one above), and version 1."""
    groups = _pairs(_read(root / "proc/self/cgroup").replace("0::", "0:")).get("0", "/")
    own = root / "sys/fs/cgroup" / groups.lstrip("/")
    above = [own, *own.parents]
    return [*above[: above.index(root / "sys/fs/cgroup") + 1], root / "sys/fs/cgroup/cpu"]


def _quota(folder: Path) -> float | None:
    """How many cores' time the control group may use; None where it sets no limit."""
    limit, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not limit:
        limit = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
    return int(limit) / int(period) if limit.isdecimal() and period.isdecimal() else None
