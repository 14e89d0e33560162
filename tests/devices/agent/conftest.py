"""A driver of NVIDIA's that keeps the GPU's memory in this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest


class HostDriver:
    """The functions of cuda.h that are used; memory is memory of this process, and marks are 1.5 ms apart."""

    declared = (
        "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate", "cuMemAlloc_v2",
        "cuMemFree_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuEventCreate",
        "cuEventRecord", "cuEventElapsedTime", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags", "cuGraphLaunch",
    )  # fmt: skip

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.failures: dict[str, int] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in self.declared:
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name not in self.failures:
                getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return self.failures.get(name, 0)

        return call

    def _cuStreamCreate(self, stream: Any, flags: int) -> None:
        stream._obj.value = 7

    def _cuMemAlloc_v2(self, address: Any, size: Any) -> None:
        held = ctypes.create_string_buffer(size.value)
        self.memory[ctypes.addressof(held)] = held
        address._obj.value = ctypes.addressof(held)

    def _cuMemFree_v2(self, address: Any) -> None:
        del self.memory[address.value]

    def _cuMemcpyHtoDAsync_v2(self, goal: Any, source: Any, size: Any, stream: Any) -> None:
        ctypes.memmove(goal.value, source.value, size.value)

    def _cuMemcpyDtoHAsync_v2(self, goal: Any, source: Any, size: Any, stream: Any) -> None:
        ctypes.memmove(goal.value, source.value, size.value)

    def _cuEventElapsedTime(self, milliseconds: Any, start: Any, end: Any) -> None:
        milliseconds._obj.value = 1.5


@pytest.fixture
def host_driver() -> HostDriver:
    return HostDriver()
