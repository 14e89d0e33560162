"""The memory of this process, as Linux tells it (Documentation/filesystems/proc.rst)."""

from __future__ import annotations

import sys

from .identity import read


def reset_peak() -> None:
    """The peak (VmHWM) starts again from here (clear_refs, 5), so that the imports don't count; where the kernel
    refuses, they count."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError as error:
        sys.stderr.write(f"the peak of resident memory includes the imports: {error}\n")


def status_bytes(key: str) -> int | None:
    """A size from /proc/self/status; None where the system has no such file."""
    for line in (read("/proc/self/status") or "").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None
