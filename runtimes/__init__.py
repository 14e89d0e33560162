"""The runtimes that artifacts are made for: an emitter for each, and runners that run its artifacts on a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..devices.contract import Device
from ..ir.errors import InputError, Problem
from .contract import (
    BatchRange,
    Coverage,
    Emitted,
    Emitter,
    Limit,
    ModelNotes,
    Port,
    Ports,
    Reference,
    Runner,
    TensorNotes,
    WarmUp,
)
from .onnxruntime import OnnxEmitter
from .tensorrt import TensorrtEmitter
from .tflite import TfliteEmitter

EMITTERS: dict[str, Emitter] = {each.name: each for each in (OnnxEmitter(), TfliteEmitter(), TensorrtEmitter())}


def emitter(name: str) -> Emitter:
    """The emitter of the named runtime; importing neither torch nor the runtime. InputError where there is none."""
    if name not in EMITTERS:
        raise InputError(Problem("runtime", name, f"one of {', '.join(sorted(EMITTERS))}", f"'{name}'"))
    return EMITTERS[name]


def open_runner(
    name: str,
    device: Device,
    file: Path,
    threads: int,
    ports: Ports | None = None,
    options: Mapping[str, Any] | None = None,
) -> Runner:
    """The artifact's `file`, loaded on `device` by the named runtime on `threads` threads; a context manager.

    It takes and hands out what the network would; `ports` say where the file differs. `options` are the runtime's own,
    by its adapter in devices/agent.

    InputError where the runtime is unknown, StepError where the artifact does not load.
    """
    from .runner import AgentRunner

    emitter(name)
    return AgentRunner(name, device, file, threads, ports or Ports(), options or {})


def open_prover(
    name: str, device: Device, file: Path, ports: Ports | None = None, options: Mapping[str, Any] | None = None
) -> Runner:
    """As `open_runner`, on one thread, by the runtime's reference where the runtime itself can't run: never to time.

    InputError, StepError as there.
    """
    reference = emitter(name).reference()
    if reference is None:
        return open_runner(name, device, file, 1, ports, options)
    return open_runner(reference.runtime, device, file, 1, ports, {**reference.options, **(options or {})})


__all__ = [
    "BatchRange",
    "Coverage",
    "Emitted",
    "Emitter",
    "Limit",
    "ModelNotes",
    "Port",
    "Ports",
    "Reference",
    "Runner",
    "TensorNotes",
    "WarmUp",
    "emitter",
    "open_prover",
    "open_runner",
]
