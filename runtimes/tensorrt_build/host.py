"""What this machine can do with TensorRT."""

from __future__ import annotations

import importlib.util

from ...devices.agent.build_engine import LIBRARIES
from ...devices.graphics import graphics


def libraries() -> tuple[str, ...]:
    """The modules with a parser, a builder and a runtime that are installed; TensorRT before TensorRT for RTX."""
    return tuple(name for name in LIBRARIES if importlib.util.find_spec(name) is not None)


def can_run() -> bool:
    """Whether engines can be built for this machine's own GPU, and run on it."""
    return bool(libraries()) and bool(graphics())
