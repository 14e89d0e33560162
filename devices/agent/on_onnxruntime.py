"""Artifacts in onnxruntime."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any, ClassVar

from .contract import AgentError

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
"""The numbers of ModelProto.graph, GraphProto.output and ValueInfoProto.name
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""
_TIME = "_kernel_time"
"""What the profile puts behind a node's name where it tells how long the node's kernel ran."""


class OnnxRuntime:
    """An artifact in an onnxruntime session with the options that a plain deployment on a CPU uses.

    Options: `keep_tensors` (names of values that can be had after a run; of a value between two integer kernels, that
    changes no kernel), `profile` (the session notes how long each node takes), `unoptimized` (each node
    is computed as the file says it, for what is to be a reference), `batch` (samples in one inference, of a file that
    leaves the batch open).
    """

    package: ClassVar[str] = "onnxruntime"
    options: ClassVar[dict[str, type]] = {"keep_tensors": list, "profile": bool, "unoptimized": bool, "batch": int}
    timed: ClassVar[str] = (
        "one call of onnxruntime.InferenceSession.run from Python: inputs are numpy arrays already in memory, "
        "outputs are newly allocated numpy arrays; reading, preprocessing and batching are outside"
    )

    def __init__(self, library: Any, file: str, threads: int, options: dict[str, Any]) -> None:
        self._library = library
        self._file = file
        self._options = library.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
        levels = library.GraphOptimizationLevel
        is_plain = options.get("unoptimized", False)
        self._options.graph_optimization_level = levels.ORT_DISABLE_ALL if is_plain else levels.ORT_ENABLE_ALL
        self._wanted: list[str] = options.get("keep_tensors", [])
        self._batch: int | None = options.get("batch")
        self._is_profiled: bool = options.get("profile", False)
        self._kept: dict[str, Any] | None = None
        self._session: Any = None
        self.inputs: list[tuple[str, list[Any], str]] = []
        self.outputs: list[str] = []

    @staticmethod
    def library() -> Any:
        """The runtime's Python package; ImportError where it is not installed."""
        import onnxruntime

        return onnxruntime

    @staticmethod
    def version(library: Any) -> tuple[str, str]:
        """The package and its version."""
        return library.__name__, library.__version__

    def open(self) -> None:
        """The session is made. Its own exceptions say what is wrong with a file."""
        if self._is_profiled:
            self._options.enable_profiling = True
            self._options.profile_file_prefix = os.path.join(tempfile.mkdtemp(prefix="edgewright-profile-"), "nodes")
        model = self._exposed() if self._wanted else self._file
        self._session = self._library.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
        given = self._session.get_inputs()
        self.inputs = [(entry.name, _sized(entry.shape, self._batch), _dtype(entry.type)) for entry in given]
        every = [entry.name for entry in self._session.get_outputs()]
        self.outputs = every[: len(every) - len(self._wanted)]

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        outputs: list[Any] = self._session.run(None, feeds)
        if not self._wanted:
            return outputs
        own = len(self.outputs)
        self._kept = dict(zip(self._wanted, outputs[own:]))  # noqa: B905 (strict= came with Python 3.10)
        return outputs[:own]

    def about(self) -> dict[str, Any]:
        """Nothing: the processor runs it."""
        return {}

    def tensors(self) -> dict[str, Any]:
        """The values of the last run that were asked for when the session was made. AgentError where none was."""
        if self._kept is None:
            raise AgentError("tensors: expected the load option keep_tensors and a run, found none")
        return self._kept

    def profiled(self) -> list[tuple[str, str, list[int]]]:
        """Each node's name, operator and nanoseconds in every run, in the order of the first; the profile has ended.

        onnxruntime notes whole microseconds.
        """
        if not self._is_profiled:
            raise AgentError("profile: expected the load option profile, which was not given")
        self._is_profiled = False
        file = self._session.end_profiling()
        with open(file) as stream:
            events = json.load(stream)
        os.remove(file)
        os.rmdir(os.path.dirname(file))
        return _nodes(events)

    def _exposed(self) -> bytes:
        """The model with the wanted values as further outputs.

        Where two messages of protobuf stand one behind the other, the second is merged into the first
        (https://protobuf.dev/programming-guides/encoding/#last-one-wins): all that has to be said is the outputs.
        """
        folder = os.path.dirname(self._file)
        self._options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        outputs = (_field(_OUTPUT, _field(_NAME, name.encode())) for name in self._wanted)
        with open(self._file, "rb") as stream:
            return stream.read() + _field(_GRAPH, b"".join(outputs))


def _sized(shape: list[Any], batch: int | None) -> list[Any]:
    """The shape with that batch, where one was asked for. AgentError where the file has another."""
    if batch is None or not shape:
        return shape
    if isinstance(shape[0], int) and shape[0] != batch:
        raise AgentError(f"options.batch: expected {shape[0]}, the batch that the file was made for, got {batch}")
    return [batch, *shape[1:]]


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes as protobuf writes it: its number and type (2), the length, the content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _nodes(events: list[dict[str, Any]]) -> list[tuple[str, str, list[int]]]:
    """What a profile's events say of nodes: the nanoseconds that the kernel of each took, in order."""
    found: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_TIME):
            key = (event["name"][: -len(_TIME)], event["args"]["op_name"])
            found.setdefault(key, []).append(1000 * event["dur"])
    return [(name, operator, times) for (name, operator), times in found.items()]


def _dtype(name: str) -> str:
    """numpy's name of a type that onnxruntime calls tensor(...)."""
    inner = name[len("tensor(") : -1]
    return {"float": "float32", "double": "float64"}.get(inner, inner)
