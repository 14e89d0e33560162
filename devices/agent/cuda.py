"""What an engine needs of CUDA: memory, one stream, events and graphs, by the driver's own library.

The driver API (https://docs.nvidia.com/cuda/cuda-driver-api) is there wherever an NVIDIA driver is; nothing else has to
be installed. TensorRT works in the primary context, and so does this.
"""

from __future__ import annotations

import ctypes
from typing import Any

from .contract import AgentError

LIBRARY = "libcuda.so.1"
_NOT_FOUND = 100
_TOO_OLD = "the NVIDIA driver is too old; `nvidia-smi` tells which it is"
_MEANINGS = {
    2: "the GPU has too little memory left for it",
    3: "the NVIDIA driver is shutting down",
    46: "the GPU is taken by another process, or can't be had now",
    _NOT_FOUND: "there is no NVIDIA GPU",
    209: "the engine holds no code for this GPU; build it on this one",
    222: _TOO_OLD,
    803: "the NVIDIA driver's parts are of different versions; restart the machine",
    804: _TOO_OLD,
}
"""What some of the driver's error codes mean to a person (CUresult in cuda.h)."""
_CAPTURE_RELAXED = 2
_CLOCK_KHZ, _MAJOR, _MINOR = 13, 75, 76
"""Of CUdevice_attribute in cuda.h: the highest clock, and the two numbers of the compute capability."""
_NAME_BYTES = 256


def driver() -> Any:
    """The driver's library. AgentError where there is none."""
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        raise AgentError(f"there is no NVIDIA driver here: {LIBRARY} is not found") from None


class Cuda:
    """The first GPU's primary context and one stream in it; `library` is the driver's."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._check("cuInit", 0)
        device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self._check("cuDeviceGet", ctypes.byref(device), 0)
        self._check("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._check("cuCtxSetCurrent", context)
        self._check("cuStreamCreate", ctypes.byref(stream), 0)
        self._device, self._stream = device, stream

    def about(self) -> dict[str, Any]:
        """The GPU: its name, compute capability, memory and highest clock, and the newest CUDA that the driver has."""
        name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
        self._check("cuDeviceGetName", name, _NAME_BYTES, self._device)
        self._check("cuDeviceTotalMem_v2", ctypes.byref(memory), self._device)
        version = ctypes.c_int()
        self._check("cuDriverGetVersion", ctypes.byref(version))
        return {
            "gpu": name.value.decode("utf-8", "replace"),
            "gpu_compute_capability": f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}",
            "gpu_memory_bytes": memory.value,
            "gpu_highest_clock_mhz": self._attribute(_CLOCK_KHZ) / 1000,
            "driver_cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
        }

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return self._stream.value or 0

    def allocate(self, size: int) -> int:
        """The address of so many bytes on the GPU."""
        address = ctypes.c_uint64()
        self._check("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """The memory at the address can be had again."""
        self._check("cuMemFree_v2", ctypes.c_uint64(address))

    def send(self, address: int, array: Any) -> None:
        """The array's bytes will lie at the address, once the stream is there."""
        source, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._check("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), source, size, self._stream)

    def receive(self, array: Any, address: int) -> None:
        """The array will hold what lies at the address, once the stream is there."""
        goal, size = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        self._check("cuMemcpyDtoHAsync_v2", goal, ctypes.c_uint64(address), size, self._stream)

    def wait(self) -> None:
        """Everything that was put on the stream is done."""
        self._check("cuStreamSynchronize", self._stream)

    def event(self) -> Any:
        """A mark that can be put on the stream."""
        made = ctypes.c_void_p()
        self._check("cuEventCreate", ctypes.byref(made), 0)
        return made

    def mark(self, event: Any) -> None:
        """The event notes when the stream gets here."""
        self._check("cuEventRecord", event, self._stream)

    def between_ns(self, start: Any, end: Any) -> int:
        """Nanoseconds of the GPU's clock between two marks that the stream has passed; it counts half microseconds."""
        milliseconds = ctypes.c_float()
        self._check("cuEventElapsedTime", ctypes.byref(milliseconds), start, end)
        return round(milliseconds.value * 1e6)

    def capture(self) -> None:
        """What is put on the stream from here on is not done but kept."""
        self._check("cuStreamBeginCapture_v2", self._stream, _CAPTURE_RELAXED)

    def captured(self) -> Any:
        """What was kept since, as one graph that can be launched."""
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self._check("cuStreamEndCapture", self._stream, ctypes.byref(graph))
        self._check("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_uint64(0))
        return ready

    def launch(self, graph: Any) -> None:
        """The graph is put on the stream."""
        self._check("cuGraphLaunch", graph, self._stream)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._check("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _check(self, function: str, *arguments: Any) -> None:
        try:
            called = getattr(self._library, function)
        except AttributeError:
            raise AgentError(f"{_TOO_OLD} (it has no {function})") from None
        code = called(*arguments)
        if code != 0:
            raise AgentError(f"{_MEANINGS.get(code, 'the GPU failed')} ({function}: CUDA error {code})")
