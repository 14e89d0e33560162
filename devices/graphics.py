"""The NVIDIA GPUs of the machine at work, and the profiles that fit them; none where there is none.

A Jetson's GPU is known by its board's name: not every JetPack's nvidia-smi tells a compute capability.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..targets import Target, builtin_names, load_target

ROOT = Path("/")
_QUERY = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")
_PATIENCE_SECONDS = 20.0
"""How long nvidia-smi may take; where the driver is not kept loaded, it loads it."""
_BOARDS = {"orin": "8.7"}
"""Words of a Jetson's name, and the compute capability of its GPU (developer.nvidia.com/cuda-gpus)."""


@dataclass(frozen=True)
class Graphics:
    """One GPU, as its driver tells of it; `driver` is empty where that is not known."""

    name: str
    compute_capability: str
    driver: str = ""

    def __str__(self) -> str:
        version = f", driver {self.driver}" if self.driver else ""
        return f"{self.name} (compute capability {self.compute_capability}{version})"


@functools.cache
def graphics(root: Path = ROOT) -> tuple[Graphics, ...]:
    """The machine's GPUs; empty where there is none, or where nothing tells of it. Asked once in a process."""
    return _by_driver() or _by_board(root)


def gpu_profile(found: Graphics) -> Target | None:
    """The built-in profile of GPUs of that compute capability; None where there is none."""
    every = [load_target(name, Path("/")) for name in builtin_names()]
    fitting = [each for each in every if each.gpu and each.gpu.compute_capability == found.compute_capability]
    return fitting[0] if fitting else None


def unlike(target: Target, found: tuple[Graphics, ...]) -> tuple[str, ...]:
    """Why these GPUs are not the target's; empty where one is, or where the target has none."""
    if target.gpu is None or any(each.compute_capability == target.gpu.compute_capability for each in found):
        return ()
    if not found:
        return ("it has no NVIDIA GPU",)
    capabilities = " and ".join(dict.fromkeys(each.compute_capability for each in found))
    return (f"its GPU has compute capability {capabilities}, not {target.gpu.compute_capability}",)


def _by_driver() -> tuple[Graphics, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        shown = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    rows = [[part.strip() for part in line.split(",")] for line in shown.stdout.splitlines()]
    is_told = shown.returncode == 0
    return tuple(Graphics(*row) for row in rows if is_told and len(row) == 3 and _is_capability(row[1]))


def _is_capability(text: str) -> bool:
    major, _, minor = text.partition(".")
    return major.isdecimal() and minor.isdecimal()


def _by_board(root: Path) -> tuple[Graphics, ...]:
    try:
        name = (root / "proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    except OSError:
        return ()
    capabilities = [capability for word, capability in _BOARDS.items() if word in name.lower()]
    is_jetson = "jetson" in name.lower()
    return (Graphics(name, capabilities[0]),) if is_jetson and capabilities else ()
