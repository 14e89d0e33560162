"""Artifacts in onnxruntime."""

from __future__ import annotations

from typing import Any, ClassVar

from .contract import AgentError


class OnnxRuntime:
    """An artifact in an onnxruntime session with the options that a plain deployment on a CPU uses."""

    package: ClassVar[str] = "onnxruntime"
    options: ClassVar[dict[str, type]] = {}
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
        self._options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
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
        self._session = self._library.InferenceSession(self._file, self._options, providers=["CPUExecutionProvider"])
        self.inputs = [(entry.name, entry.shape, _dtype(entry.type)) for entry in self._session.get_inputs()]
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        outputs: list[Any] = self._session.run(None, feeds)
        return outputs

    def tensors(self) -> dict[str, Any]:
        """AgentError: a session hands out the model's outputs and nothing else."""
        raise AgentError("tensors: onnxruntime keeps no tensor but the outputs")


def _dtype(name: str) -> str:
    """numpy's name of a type that onnxruntime calls tensor(...)."""
    inner = name[len("tensor(") : -1]
    return {"float": "float32", "double": "float64"}.get(inner, inner)
