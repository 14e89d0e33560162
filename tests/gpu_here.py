"""A GPU that keeps its memory in the test's process: NVIDIA's driver, TensorRT's engines and an agent in this process.

An engine computes what onnxruntime computes of the same model with its optimizations off. So everything between the
command line and the libraries' own functions is the real thing; the times are nobody's.
"""

from __future__ import annotations

import ctypes
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from edgewright.benchmarks import latency
from edgewright.devices.agent import build_engine, commands, cuda
from edgewright.devices.agent.__main__ import answer
from edgewright.devices.agent.commands import Agent
from edgewright.devices.agent.on_tensorrt import TensorRt
from edgewright.devices.local import AgentSession, LocalDevice
from edgewright.ir.errors import StepError

NAME, CAPABILITY, CUDA_VERSION = "NVIDIA Pretence", (8, 9), 13000


class HostDriver:
    """The functions of cuda.h that are used; memory is memory of this process, and marks are 1.5 ms apart.

    `failures` are the functions that fail, with their codes; `missing` those that an older driver has not.
    """

    declared = (
        "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate", "cuMemAlloc_v2",
        "cuMemFree_v2", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize", "cuEventCreate",
        "cuEventRecord", "cuEventElapsedTime", "cuStreamBeginCapture_v2", "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags", "cuGraphLaunch", "cuDeviceGetName", "cuDeviceTotalMem_v2",
        "cuDeviceGetAttribute", "cuDriverGetVersion",
    )  # fmt: skip

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.failures: dict[str, int] = {}
        self.missing: set[str] = set()
        self.calls: list[str] = []
        self.work: Callable[[], Any] = lambda: None
        """What an engine has put on the stream last: a graph that was captured does it again."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name not in self.declared or name in self.missing:
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

    def _cuGraphLaunch(self, graph: Any, stream: Any) -> None:
        self.work()

    def _cuDeviceGetName(self, name: Any, size: int, device: Any) -> None:
        name.value = NAME.encode()

    def _cuDeviceTotalMem_v2(self, size: Any, device: Any) -> None:
        size._obj.value = 1 << 30

    def _cuDeviceGetAttribute(self, value: Any, number: int, device: Any) -> None:
        value._obj.value = {13: 1_500_000, 75: CAPABILITY[0], 76: CAPABILITY[1]}[number]

    def _cuDriverGetVersion(self, version: Any) -> None:
        version._obj.value = CUDA_VERSION


class Engine:
    """An engine, its context and its inspector: onnxruntime on the model that it was built of."""

    def __init__(self, model: str, shapes: dict[str, Any], driver: HostDriver) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._ends = {entry.name: entry for entry in (*self._session.get_inputs(), *self._session.get_outputs())}
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        self._bounds, self._driver = shapes, driver
        self._batch, self._addresses = -1, dict[str, int]()
        self.profiler: Any = None

    @property
    def num_io_tensors(self) -> int:
        return len(self._ends)

    def get_tensor_name(self, index: int) -> str:
        return list(self._ends)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self._inputs else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return str(self._ends[name].type)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else self._batch for size in self._ends[name].shape)

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [tuple(self._bounds[name][key]) for key in ("min", "opt", "max")]

    def create_execution_context(self) -> Engine:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.get_tensor_profile_shape(name, 0)
        if not least[0] <= shape[0] <= most[0] or shape[1:] != least[1:]:
            return False
        self._batch = shape[0]
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self._driver.work = self._compute
        self._compute()
        return True

    def _compute(self) -> None:
        held = {name: self._held(name) for name in self._ends}
        results = self._session.run(None, {name: held[name] for name in self._inputs})
        for entry, values in zip(self._session.get_outputs(), results, strict=True):
            held[entry.name][...] = values
        if self.profiler is not None:
            self.profiler.report_layer_time("first + second", 0.25)
            self.profiler.report_layer_time("third", 0.75)

    def _held(self, name: str) -> np.ndarray:
        shape, dtype = self.get_tensor_shape(name), np.dtype(nptype(self.get_tensor_dtype(name)))
        memory = (ctypes.c_char * (math.prod(shape) * dtype.itemsize)).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    def create_engine_inspector(self) -> Any:
        layers = [
            {"Name": "first + second", "LayerType": "correlation", "Inputs": [], "Metadata": ""},
            {"Name": "third", "LayerType": "kgen", "Inputs": [], "Metadata": ""},
        ]
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": layers}))


def nptype(dtype: str) -> type:
    """numpy's type of what onnxruntime calls tensor(...)."""
    return {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int8)": np.int8}[dtype]


class Base:
    """What TensorRT's interfaces are made of."""

    def __init__(self) -> None:
        pass


@dataclass
class GpuHere:
    """What there is in place of a GPU, and what a test may change: layers that the builder runs in float.

    `says` is what TensorRT logs where it makes no engine of what it is given; empty where it does.
    """

    driver: HostDriver
    in_float: list[str] = field(default_factory=list)
    says: str = ""
    built: list[str] = field(default_factory=list)

    def library(self) -> Any:
        """TensorRT's module, as far as the agent uses it."""
        found = SimpleNamespace(__name__="tensorrt", __version__="10.16.1", ILogger=Base, IProfiler=Base, nptype=nptype)
        found.TensorIOMode = SimpleNamespace(INPUT="in")
        found.LayerInformationFormat = SimpleNamespace(JSON="json")
        found.Runtime = self._runtime
        return found

    def _runtime(self, logger: Any) -> Any:
        def deserialize(content: bytes) -> Any:
            if self.says:
                logger.log(SimpleNamespace(name="ERROR"), self.says)
                return None
            return Engine(**json.loads(content), driver=self.driver)

        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    def build(self, trt: Any, model: str, settings: dict[str, Any], lines: Any, cache: str = "") -> Any:
        """In place of build_engine.build: what a builder answers."""
        self.built.append(Path(model).name)
        promised = settings["int8_layers"] if settings["model"] == Path(model).name else []
        int8 = [name for name in promised if name not in self.in_float]
        if cache:
            Path(cache).write_bytes(b"what was measured")
        content = json.dumps({"model": model, "shapes": settings["shapes"]}).encode()
        report = {"library": trt.__name__, "version": trt.__version__, "parsed": True, "built": True, "problems": []}
        report |= {"layers": [{}, {}], "int8": int8, "engine_bytes": len(content), "seconds": 0.5, "warnings": []}
        return content, report


class SessionHere(AgentSession):
    """An agent in this process, which is talked to in the same words."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgewright-agent-")
        self.scratch, self._agent = Path(self._folder.name), Agent()

    def call(self, command: str, *, timeout_seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        told = json.loads(json.dumps(answer(self._agent, json.dumps({"command": command, **arguments}))))
        if "error" in told:
            raise StepError(f"{command}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._folder.cleanup()


def put_here(monkeypatch: pytest.MonkeyPatch) -> GpuHere:
    """From here on this machine has that GPU, and the device `local` runs its agents in this process."""
    from edgewright.runtimes import tensorrt

    found = GpuHere(HostDriver())
    monkeypatch.setattr(cuda, "driver", lambda: found.driver)
    monkeypatch.setattr(TensorRt, "library", staticmethod(found.library))
    monkeypatch.setattr(build_engine, "build", found.build)
    monkeypatch.setattr(tensorrt, "can_run", lambda: True)
    monkeypatch.setattr(LocalDevice, "start", lambda device: SessionHere())
    return found


def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on benches take a few inferences, and whatever runs is steady at once."""
    monkeypatch.setattr(latency, "ROUNDS", 2)
    monkeypatch.setattr(latency, "MOST_RUNS", 3)
    monkeypatch.setattr(latency, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(commands, "STEADY", float("inf"))
