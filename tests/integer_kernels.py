"""The interpreters that are here whose integers are known; the fixture `integer_kernels` loads this file."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgewright.devices import tflite_runtime
from edgewright.devices.agent import identity
from edgewright.devices.contract import Device
from edgewright.devices.local import LocalDevice
from edgewright.ir.state import ModelState
from edgewright.pipeline.store import devices_folder
from edgewright.quantization.integer_graph import Kernels, with_integer_kernels
from edgewright.runtimes import Ports, open_runner
from torch import Tensor, nn


def interpreters() -> dict[Kernels, tuple[Device, dict[str, Any]]]:
    """Where each kind of kernels can run here: a device and the options of its runner; they are those of AVX2."""
    flags = identity.processor(identity.read("/proc/cpuinfo") or "")["flags"]
    if platform.machine() != "x86_64" or "avx2" not in flags:
        return {}
    found: dict[Kernels, tuple[Device, dict[str, Any]]] = {Kernels.NEW_X86: (LocalDevice(), {"xnnpack": False})}
    old = tflite_runtime.find(devices_folder())
    return found | ({Kernels.OLD_X86: (old, {})} if old is not None else {})


def computed(module: nn.Module, samples: Tensor) -> list[np.ndarray]:
    """Each of the outputs, of all samples."""
    with torch.no_grad():
        answers = [module(sample[None]) for sample in samples]
    outputs = zip(*(each if isinstance(each, tuple) else (each,) for each in answers), strict=True)
    return [torch.cat(parts).numpy() for parts in outputs]


def answers(
    kernels: Kernels,
    place: tuple[Device, dict[str, Any]],
    state: ModelState,
    file: Path,
    ports: Ports,
    samples: Tensor,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the interpreter with these kernels answers, and what it should."""
    device, options = place
    with open_runner("tflite", device, file, 1, ports, options) as runner:
        found = runner.run({"image": samples.numpy()})
    return found, computed(with_integer_kernels(state.exported_program(), kernels), samples)
