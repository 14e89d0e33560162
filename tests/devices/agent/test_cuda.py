"""The driver API's calls, on a driver that keeps the GPU's memory in this process: no GPU is at hand."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgewright.devices.agent import cuda
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.graphics import graphics


def test_without_a_driver_that_is_said() -> None:
    if graphics():
        assert cuda.Cuda(cuda.driver()).stream != 0
        return
    with pytest.raises(AgentError, match=r"there is no NVIDIA (driver here: libcuda.so.1 is not found|GPU)"):
        cuda.Cuda(cuda.driver())


def test_bytes_come_back_as_they_were_sent(host_driver: Any) -> None:
    device = cuda.Cuda(host_driver)
    sent = np.arange(12, dtype=np.float32).reshape(3, 4)
    address = device.allocate(sent.nbytes)
    device.send(address, sent)
    received = np.zeros_like(sent)
    device.receive(received, address)
    device.wait()
    assert np.array_equal(received, sent)
    device.free(address)
    assert host_driver.memory == {}
    assert host_driver.calls[:5] == [
        "cuInit",
        "cuDeviceGet",
        "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent",
        "cuStreamCreate",
    ]


def test_events_tell_nanoseconds(host_driver: Any) -> None:
    device = cuda.Cuda(host_driver)
    start, end = device.event(), device.event()
    device.mark(start)
    device.mark(end)
    assert device.between_ns(start, end) == 1_500_000  # the driver says 1.5 ms


def test_what_was_captured_is_launched(host_driver: Any) -> None:
    device = cuda.Cuda(host_driver)
    device.capture()
    graph = device.captured()
    device.launch(graph)
    assert host_driver.calls[-4:] == [
        "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (2, r"the GPU has too little memory left for it \(cuMemAlloc_v2: CUDA error 2\)"),
        (804, r"the NVIDIA driver is too old; `nvidia-smi` tells which it is \(cuMemAlloc_v2: CUDA error 804\)"),
        (46, "the GPU is taken by another process"),
        (700, r"the GPU failed \(cuMemAlloc_v2: CUDA error 700\)"),
    ],
)
def test_an_error_is_told_with_its_meaning(host_driver: Any, code: int, meaning: str) -> None:
    device = cuda.Cuda(host_driver)
    host_driver.failures["cuMemAlloc_v2"] = code
    with pytest.raises(AgentError, match=meaning):
        device.allocate(8)


def test_a_driver_that_lacks_a_function_is_too_old(host_driver: Any) -> None:
    device = cuda.Cuda(host_driver)
    device.capture()
    host_driver.missing.add("cuGraphInstantiateWithFlags")
    with pytest.raises(AgentError, match=r"the NVIDIA driver is too old; .* \(it has no cuGraphInstantiateWithFlags\)"):
        device.captured()


def test_the_gpu_is_told_by_name(host_driver: Any) -> None:
    assert cuda.Cuda(host_driver).about() == {
        "gpu": "NVIDIA Pretence",
        "gpu_compute_capability": "8.9",
        "gpu_memory_bytes": 1 << 30,
        "gpu_highest_clock_mhz": 1500,
        "driver_cuda": "13.0",
    }


def test_every_call_is_one_that_nvidia_declares(host_driver: Any) -> None:
    """The fake driver answers only functions of cuda.h; nothing else is called."""
    source = Path(cuda.__file__).read_text()
    assert {name for name in host_driver.declared if f'"{name}"' in source} == set(host_driver.declared)
    assert ctypes.sizeof(ctypes.c_uint64) == 8  # CUdeviceptr
