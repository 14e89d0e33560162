"""Artifacts in TensorRT, or in TensorRT for RTX: an engine, or an ONNX model that an engine is built of first."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, ClassVar

from . import build_engine, cuda
from .contract import AgentError

TIMING_CACHE = ".timing-cache"
"""What is put behind a model's name for what the builder measured on this GPU; the next build is faster with it."""
EVENTS = "the whole engine, by CUDA events"


class TensorRt:
    """An artifact in a TensorRT engine on the first GPU.

    Options: `cuda_graph` (the engine's kernels are launched as one graph), `batch` (samples in one inference, of an
    engine with an open batch), `profile` (layers are timed one by one, which makes the whole slower), `events` (the
    engine alone is timed on the GPU, without copies from and to the host).
    """

    package: ClassVar[str] = "tensorrt"
    options: ClassVar[dict[str, type]] = {"cuda_graph": bool, "batch": int, "profile": bool, "events": bool}
    timed: ClassVar[str] = (
        "one inference end to end: inputs are copied from numpy arrays to the GPU, the engine runs, outputs are copied "
        "back into newly allocated numpy arrays; reading and preprocessing are outside"
    )

    def __init__(self, library: Any, file: str, threads: int, options: dict[str, Any]) -> None:
        self._library, self._file, self._options = library, file, options
        self._lines: list[tuple[str, str]] = []
        self._logger = build_engine.make_logger(library, self._lines)
        self._buffers: dict[str, tuple[int, int]] = {}
        self._graphs: dict[Any, Any] = {}
        self._times: dict[str, list[int]] = {}
        self._report: dict[str, Any] = {}
        self._cuda: Any = None
        self._marks: list[Any] = []
        self._engine: Any = None
        self._context: Any = None
        self.inputs: list[tuple[str, list[Any], str]] = []
        self.outputs: list[str] = []

    @staticmethod
    def library() -> Any:
        """TensorRT's Python package, or that of TensorRT for RTX; ImportError where neither is installed."""
        try:
            return build_engine.library()
        except build_engine.BuildError as error:
            raise ImportError(str(error)) from None

    @staticmethod
    def version(library: Any) -> tuple[str, str]:
        """The package and its version."""
        return library.__name__, library.__version__

    def open(self) -> None:
        """The engine is built where the file is a model, and loaded. AgentError where it can't be, with the reason.

        An engine with fewer layers in INT8 than engine.json beside the model promises is refused.
        """
        self._cuda = cuda.Cuda(cuda.driver())
        self._marks = [self._cuda.event(), self._cuda.event()]
        content = self._built() if self._file.endswith(".onnx") else _content(self._file)
        self._runtime = self._made(lambda: self._library.Runtime(self._logger))
        self._engine = self._made(lambda: self._runtime.deserialize_cuda_engine(content))
        self._context = self._made(lambda: self._engine.create_execution_context())
        self._name_ends()
        if self._options.get("profile"):
            self._context.profiler = _profiler(self._library, self._times)

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        import numpy

        arrays = {name: numpy.ascontiguousarray(array) for name, array in feeds.items()}
        for name, array in arrays.items():
            self._shape(name, array.shape)
            self._cuda.send(self._place(name, array.nbytes), array)
        outputs = []
        for name in self.outputs:
            dtype = self._library.nptype(self._engine.get_tensor_dtype(name))
            outputs.append(numpy.empty(tuple(self._context.get_tensor_shape(name)), dtype))
            self._place(name, outputs[-1].nbytes)
        self._compute(tuple(array.shape for array in arrays.values()))
        for name, values in zip(self.outputs, outputs):  # noqa: B905 (strict= came with Python 3.10)
            self._cuda.receive(values, self._buffers[name][0])
        self._cuda.wait()
        if self._options.get("events"):
            self._times.setdefault(EVENTS, []).append(self._cuda.between_ns(*self._marks))
        return outputs

    def about(self) -> dict[str, Any]:
        """The GPU, and the engine: how many layers it has and how many of the model's run in INT8, if it was built."""
        return {**self._cuda.about(), "engine": self._report}

    def tensors(self) -> dict[str, Any]:
        """AgentError: an engine keeps nothing inside it."""
        raise AgentError("tensors: expected a runtime that keeps values between layers, an engine fuses them away")

    def profiled(self) -> list[tuple[str, str, list[int]]]:
        """What each layer took in each run, or the whole engine by CUDA events. AgentError where neither was asked."""
        if not self._options.get("profile") and not self._options.get("events"):
            raise AgentError("profile: expected the load option profile or events, which was not given")
        layers = self._layers() if self._options.get("profile") else []
        kinds = {layer["name"]: layer["kind"] for layer in layers}
        return [(name, kinds.get(name, "engine"), times) for name, times in self._times.items()]

    def _layers(self) -> list[dict[str, Any]]:
        formats = self._library.LayerInformationFormat
        return build_engine.layers_of_inspector(
            self._engine.create_engine_inspector().get_engine_information(formats.JSON)
        )

    def _built(self) -> Any:
        """The serialized engine of the model, by the settings beside it; its timing cache is kept beside it too."""
        settings = os.path.join(os.path.dirname(self._file), build_engine.SETTINGS)
        wanted = json.loads(_content(settings)) if os.path.isfile(settings) else {}
        cache = self._file + TIMING_CACHE
        is_known = os.path.isfile(cache)
        try:
            engine, report = build_engine.build(self._library, self._file, wanted, self._lines, cache)
        except (build_engine.BuildError, TypeError) as error:
            raise AgentError(f"{self._name()}: {build_engine.explain(f'{self._errors()} {error}')}") from None
        is_own = wanted.get("model") == self._name()
        reason = build_engine.refusal(report, wanted.get("int8_layers", []) if is_own else [])
        if reason:
            raise AgentError(f"{self._name()}: {reason}")
        self._report = {
            "layers": len(report["layers"]),
            "int8_layers": len(report["int8"]),
            "bytes": report["engine_bytes"],
            "build_seconds": round(report["seconds"], 3),
            "timing_cache": "reused" if is_known else "written",
        }
        return engine

    def _made(self, make: Callable[[], Any]) -> Any:
        """What `make` gives. AgentError where that is nothing, or where TensorRT can't even begin."""
        try:
            made = make()
        except TypeError as error:  # what its constructors raise where CUDA can't be had
            raise AgentError(f"{self._name()}: {build_engine.explain(f'{self._errors()} {error}')}") from None
        if made is None:
            raise AgentError(f"{self._name()}: {build_engine.explain(self._errors())}")
        return made

    def _name(self) -> str:
        return os.path.basename(self._file)

    def _name_ends(self) -> None:
        engine, modes = self._engine, self._library.TensorIOMode
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            if engine.get_tensor_mode(name) != modes.INPUT:
                self.outputs.append(name)
                continue
            shape = [size if size >= 0 else None for size in engine.get_tensor_shape(name)]
            if shape and shape[0] is None:
                least = engine.get_tensor_profile_shape(name, 0)[0][0]
                shape[0] = self._options.get("batch", least if least > 1 else None)
            dtype = self._library.nptype(engine.get_tensor_dtype(name)).__name__
            self.inputs.append((name, shape, dtype))

    def _shape(self, name: str, shape: tuple[int, ...]) -> None:
        """The input has this shape from here on. AgentError where the engine does not take it."""
        if tuple(self._context.get_tensor_shape(name)) == shape:
            return
        if not self._context.set_input_shape(name, shape):
            bounds = " to ".join(str(tuple(each)) for each in self._engine.get_tensor_profile_shape(name, 0)[::2])
            raise AgentError(
                f"input '{name}': expected a shape from {bounds}, which the engine was built for, got {shape}"
            )
        self._graphs.clear()  # a graph is of the context as it was when it was captured

    def _place(self, name: str, size: int) -> int:
        """The address of the tensor's memory on the GPU, which the engine knows; made anew where it has grown."""
        address, held = self._buffers.get(name, (0, -1))
        if held < size:
            if held >= 0:
                self._cuda.free(address)
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
            self._graphs.clear()
            self._context.set_tensor_address(name, address)
        return address

    def _compute(self, shapes: Any) -> None:
        """The engine's work is on the stream, between two marks where events are asked for."""
        if self._options.get("cuda_graph") and shapes not in self._graphs:
            self._enqueue()  # what is done once, as allocating, can't be captured
            self._cuda.wait()
            self._cuda.capture()
            self._enqueue()
            self._graphs[shapes] = self._cuda.captured()
        self._cuda.mark(self._marks[0])
        if shapes in self._graphs:
            self._cuda.launch(self._graphs[shapes])
        else:
            self._enqueue()
        self._cuda.mark(self._marks[1])

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._cuda.stream):
            raise AgentError(build_engine.explain(self._errors()))

    def _errors(self) -> str:
        return "\n".join(text for severity, text in self._lines if severity in ("ERROR", "INTERNAL_ERROR"))


def _content(file: str) -> bytes:
    with open(file, "rb") as stream:
        return stream.read()


def _profiler(library: Any, times: dict[str, list[int]]) -> Any:
    """A profiler of TensorRT that notes each layer's nanoseconds in `times`."""

    class Noted(library.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            library.IProfiler.__init__(self)

        def report_layer_time(self, name: str, milliseconds: float) -> None:
            times.setdefault(name, []).append(round(milliseconds * 1e6))

    return Noted()
