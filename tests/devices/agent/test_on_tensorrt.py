"""Artifacts in TensorRT: on a GPU where there is one, and otherwise on an engine that adds one, without a GPU."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from edgewright.devices.agent import build_engine, cuda
from edgewright.devices.agent.contract import AgentError
from edgewright.devices.agent.on_tensorrt import EVENTS, TIMING_CACHE, TensorRt
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import StepError
from edgewright.runtimes import open_runner
from edgewright.runtimes.tensorrt_build import host, verdict

FLOAT32 = "float32"


class AddsOne:
    """An engine and its context: `output` is `image` plus one; takes one to eight samples of two values."""

    num_io_tensors = 2

    def __init__(self) -> None:
        self.shape, self.addresses, self.enqueued = (-1, 2), {}, 0
        self.profiler: Any = None

    def get_tensor_name(self, index: int) -> str:
        return ("image", "output")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == "image" else "out"

    def get_tensor_dtype(self, name: str) -> str:
        return FLOAT32

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(1, 2), (4, 2), (8, 2)]

    def create_execution_context(self) -> AddsOne:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if not 1 <= shape[0] <= 8 or shape[1:] != (2,):
            return False
        self.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.enqueued += 1
        count = self.shape[0] * 2
        values = (ctypes.c_float * count).from_address(self.addresses["image"])
        results = (ctypes.c_float * count).from_address(self.addresses["output"])
        results[:] = [value + 1 for value in values]
        if self.profiler is not None:
            self.profiler.report_layer_time("add", 0.25)
        return True

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": [{"Name": "add", "LayerType": "kgen", "Inputs": [], "Metadata": ""}]})
        return SimpleNamespace(get_engine_information=lambda form: text)


class Base:
    def __init__(self) -> None:
        pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, host_driver: Any, tmp_path: Path) -> Callable[..., Any]:
    """opened(engine=AddsOne() or None, says="", **options): the adapter, loaded, its engine as `engine` beside it."""

    def make(engine: Any, says: str = "", **options: Any) -> TensorRt:
        def runtime(logger: Any) -> Any:
            def deserialize(content: bytes) -> Any:
                logger.log(SimpleNamespace(name="ERROR"), says)
                return engine

            return SimpleNamespace(deserialize_cuda_engine=deserialize)

        library = SimpleNamespace(ILogger=Base, IProfiler=Base, Runtime=runtime, nptype=lambda _: np.float32)
        library.TensorIOMode = SimpleNamespace(INPUT="in")
        library.LayerInformationFormat = SimpleNamespace(JSON="json")
        monkeypatch.setattr(cuda, "driver", lambda: host_driver)
        (tmp_path / "model.engine").write_bytes(b"an engine")
        adapter = TensorRt(library, str(tmp_path / "model.engine"), 1, options)
        adapter.open()
        return adapter

    return make


def samples(count: int) -> np.ndarray:
    return np.arange(2 * count, dtype=np.float32).reshape(count, 2)


def test_it_copies_runs_and_copies_back(opened: Any) -> None:
    adapter = opened(AddsOne())
    assert (adapter.inputs, adapter.outputs) == ([("image", [None, 2], "float32")], ["output"])
    for count in (1, 8, 3):  # buffers grow and are used again
        (output,) = adapter.run({"image": samples(count)})
        assert np.array_equal(output, samples(count) + 1)


def test_an_open_batch_has_the_size_that_was_asked_for(opened: Any) -> None:
    assert opened(AddsOne(), batch=4).inputs == [("image", [4, 2], "float32")]


def test_an_engine_that_takes_no_fewer_has_its_least_batch(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AddsOne, "get_tensor_profile_shape", lambda *_: [(4, 2), (4, 2), (8, 2)])
    assert opened(AddsOne()).inputs == [("image", [4, 2], "float32")]
    assert opened(AddsOne(), batch=8).inputs == [("image", [8, 2], "float32")]


def test_shapes_outside_of_the_profile_are_refused(opened: Any) -> None:
    with pytest.raises(AgentError, match=r"input 'image': expected a shape from \(1, 2\) to \(8, 2\), .* got \(9, 2\)"):
        opened(AddsOne()).run({"image": samples(9)})


def test_a_graph_is_captured_once_for_each_shape(opened: Any, host_driver: Any) -> None:
    engine = AddsOne()
    adapter = opened(engine, cuda_graph=True)
    for _ in range(3):
        adapter.run({"image": samples(2)})
    assert (engine.enqueued, host_driver.calls.count("cuGraphLaunch")) == (2, 3)  # once to warm up, once captured
    for count in (1, 2):  # the context has changed: an older graph is not of it
        adapter.run({"image": samples(count)})
    assert (engine.enqueued, host_driver.calls.count("cuGraphLaunch")) == (6, 5)


def test_times_are_those_of_events_or_layers(opened: Any) -> None:
    adapter = opened(AddsOne(), events=True)
    adapter.run({"image": samples(1)})
    assert adapter.profiled() == [(EVENTS, "engine", [1_500_000])]
    adapter = opened(AddsOne(), profile=True)
    adapter.run({"image": samples(1)})
    assert adapter.profiled() == [("add", "kgen", [250_000])]
    with pytest.raises(AgentError, match="expected the load option profile or events"):
        opened(AddsOne()).profiled()


@pytest.mark.parametrize(
    ("says", "meaning"),
    [
        (
            "generated on an incompatible device, expecting compute 8.6 got compute 8.9",
            "the engine was built for another",
        ),
        (
            "Version tag does not match. Note: Current Version: 239",
            "the engine was built by another version of TensorRT",
        ),
        ("out of memory", "the GPU has too little memory left for it"),
    ],
)
def test_an_engine_that_does_not_load_says_why(opened: Any, says: str, meaning: str) -> None:
    with pytest.raises(AgentError, match=f"^model.engine: {meaning}"):
        opened(None, says)


def test_a_driver_that_is_too_old_for_tensorrt_is_said(monkeypatch: pytest.MonkeyPatch, opened: Any) -> None:
    """What TensorRT's bindings do: they log, and the constructor raises that it got nothing."""

    def runtime(logger: Any) -> Any:
        logger.log(SimpleNamespace(name="ERROR"), "CUDA initialization failure with error: 35. Please check your CUDA")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    adapter = opened(AddsOne())
    adapter._library.Runtime = runtime
    with pytest.raises(
        AgentError, match=r"^model.engine: there is no NVIDIA driver here, or it is too old for this Te"
    ):
        adapter.open()


def test_too_little_memory_is_said_whenever_it_is_missing(opened: Any, host_driver: Any) -> None:
    adapter = opened(AddsOne())
    host_driver.failures["cuMemAlloc_v2"] = 2
    with pytest.raises(AgentError, match="the GPU has too little memory left for it"):
        adapter.run({"image": samples(1)})
    engine = AddsOne()
    engine.create_execution_context = lambda: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(AgentError, match=r"^model.engine: the GPU has too little memory left for it"):
        opened(engine, "IExecutionContext: out of memory")


@pytest.mark.skipif(not verdict.is_installed(), reason=verdict.HOW)
@pytest.mark.parametrize("operator", ["StringNormalizer", "Unheard"])
def test_an_operator_without_support_is_named_with_its_layer(
    operator: str, monkeypatch: pytest.MonkeyPatch, host_driver: Any, tmp_path: Path
) -> None:
    """NVIDIA's own parser, which needs no GPU. Of operators that it knows by name alone it says `false` and no more."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("image", "output")]
    nodes = [onnx.helper.make_node(operator, ["image"], ["output"], name="odd.layer")]
    graph = onnx.helper.make_graph(nodes, "odd", ends[:1], ends[1:])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)]), tmp_path / "m.onnx")
    monkeypatch.setattr(cuda, "driver", lambda: host_driver)
    adapter = TensorRt(build_engine.library(verdict.LIBRARY), str(tmp_path / "m.onnx"), 1, {})
    with pytest.raises(
        AgentError, match=r"^m.onnx: tensorrt_rtx.* refuses the model: odd.layer: TensorRT has no such op"
    ):
        adapter.open()


def test_what_is_missing_here_is_said(quantized_models: ModuleType, tmp_path: Path) -> None:
    if host.can_run():
        pytest.skip("there is a GPU, with TensorRT")
    file = quantized_models.convolution(tmp_path / "model.onnx")
    with pytest.raises(StepError, match=r"(there is no NVIDIA (driver|GPU)|TensorRT is not installed)"):
        open_runner("tensorrt", LocalDevice(), file, 1)


@pytest.mark.skipif(not host.can_run(), reason="needs an NVIDIA GPU and TensorRT")
@pytest.mark.parametrize("options", [{}, {"cuda_graph": True}])
def test_on_a_gpu_it_computes_what_the_reference_computes(
    quantized_models: ModuleType, tmp_path: Path, options: dict[str, Any]
) -> None:
    file = quantized_models.convolution(tmp_path / "model.onnx")
    settings = {"model": file.name, "shapes": {}, "int8_layers": ["conv"]}
    (tmp_path / build_engine.SETTINGS).write_text(json.dumps(settings))
    images = {"image": np.random.default_rng(0).normal(size=(3, 32, 16, 16)).astype(np.float32)}
    found = {}
    for runtime, given in (("tensorrt", options), ("onnxruntime", {"unoptimized": True})):
        with open_runner(runtime, LocalDevice(), file, 1, options=given) as runner:
            (found[runtime],) = runner.run(images)
    assert (tmp_path / f"model.onnx{TIMING_CACHE}").is_file()
    step = 0.05 * 0.01 * 127  # of the input and of a weight, at its largest: one input rounded to the other side
    assert np.abs(found["tensorrt"] - found["onnxruntime"]).max() <= step
