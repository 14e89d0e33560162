"""What this machine can do with TensorRT."""

from __future__ import annotations

import importlib.util

from ...devices.agent.build_engine import LIBRARIES
from ...devices.graphics import Graphics, graphics
from .settings import BUILT_BY_RTX


def libraries() -> tuple[str, ...]:
    """The modules with a parser, a builder and a runtime that are installed; TensorRT before TensorRT for RTX."""
    return tuple(name for name in LIBRARIES if importlib.util.find_spec(name) is not None)


def can_run() -> bool:
    """Whether engines can be built for this machine's own GPU, and run on it."""
    return not why_not()


def why_not() -> str:
    """What this machine lacks to build engines for its own GPU and to run them; empty where it has everything."""
    found, gpus = libraries(), graphics()
    if not gpus:
        return "an NVIDIA GPU"
    if not found:
        return "TensorRT"
    if found[0] == LIBRARIES[0] or any(map(_runs_rtx, gpus)):
        return ""
    return f"TensorRT: TensorRT for RTX runs nothing on {' and '.join(map(str, gpus))}"


def _runs_rtx(gpu: Graphics) -> bool:
    """Whether TensorRT for RTX runs on it: on what it builds for, and on whatever is newer (seen in 1.7)."""
    capability = gpu.compute_capability
    return capability in BUILT_BY_RTX or float(capability) > float(BUILT_BY_RTX[-1])
