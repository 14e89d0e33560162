"""Artifacts in TensorFlow Lite: ai-edge-litert's interpreter, or the older tflite-runtime's where only that is."""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any, ClassVar

from . import tflite_file
from .contract import AgentError

LIBRARIES = {"ai_edge_litert.interpreter": "ai-edge-litert", "tflite_runtime.interpreter": "tflite-runtime"}
"""Modules that hold the same interpreter, the newer one first, and the packages that bring them."""
KEEPER = "ai_edge_litert.interpreter"
"""Seen: tflite-runtime 2.14, told to keep every tensor, lets an ADD write over its first input."""


class TFLite:
    """An artifact in an interpreter on the CPU, with XNNPACK as it is by default.

    Options: `xnnpack` (false: the built-in kernels alone), `keep_tensors` (names of values that can be had after a
    run; ai-edge-litert gives XNNPACK one operator at a time then, and all compute as they do without).
    """

    package: ClassVar[str] = "ai-edge-litert"
    options: ClassVar[dict[str, type]] = {"xnnpack": bool, "keep_tensors": list, "profile": bool}
    timed: ClassVar[str] = (
        "from numpy arrays already in memory to numpy arrays: set_tensor for each input, Interpreter.invoke, "
        "get_tensor (a copy) for each output, from Python; reading, preprocessing, quantizing and batching are outside"
    )

    def __init__(self, library: Any, file: str, threads: int, options: dict[str, Any]) -> None:
        self._library, self._file, self._threads, self._wanted = library, file, threads, options
        self._content = tflite_file.read(file)
        self._interpreter: Any = None
        self._inputs: dict[str, int] = {}
        self._outputs: list[int] = []
        self.inputs: list[tuple[str, list[Any], str]] = []
        self.outputs: list[str] = []

    @staticmethod
    def library() -> Any:
        """The module that holds the interpreter; ImportError where there is none."""
        for name in LIBRARIES:
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError:
                continue
        raise ImportError("neither ai_edge_litert nor tflite_runtime is there")

    @staticmethod
    def version(library: Any) -> tuple[str, str]:
        """The package and its version."""
        package = LIBRARIES[library.__name__]
        return package, metadata.version(package)

    def open(self) -> None:
        """The interpreter has its tensors. AgentError where it lacks an operator, or a version of one."""
        more: dict[str, Any] = {}
        package, version = self.version(self._library)
        if self._wanted.get("profile"):
            raise AgentError(f"profile: {package} {version} tells Python nothing of how long its operators take")
        if self._wanted.get("keep_tensors"):
            if self._library.__name__ != KEEPER:
                raise AgentError(f"keep_tensors: {package} {version} writes sums over the values that they are made of")
            more["experimental_preserve_all_tensors"] = True
        if self._wanted.get("xnnpack") is False:
            kinds = self._library.OpResolverType
            more["experimental_op_resolver_type"] = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = self._library.Interpreter(model_path=self._file, num_threads=self._threads, **more)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            expected = f"{self._file}: expected a file that {package} {version} can run"
            raise AgentError(f"{expected}, which says: {' '.join(str(error).split())}") from None
        given, handed = self._ports()
        details = {entry["index"]: entry for entry in self._interpreter.get_tensor_details()}
        details.update({entry["index"]: entry for entry in self._interpreter.get_input_details()})
        self._inputs = dict(given)
        self.inputs = [(name, _shape(details[index]), details[index]["dtype"].__name__) for name, index in given]
        self.outputs = [name for name, _ in handed]
        self._outputs = [index for _, index in handed]

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        for name, index in self._inputs.items():
            self._interpreter.set_tensor(index, feeds[name])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def about(self) -> dict[str, Any]:
        """Nothing: the processor runs it."""
        return {}

    def tensors(self) -> dict[str, Any]:
        """The values of the last run that were asked for when the file was loaded. AgentError where it has no such."""
        wanted = self._wanted.get("keep_tensors")
        if not wanted:
            raise AgentError("tensors: expected the load option keep_tensors, which was not given")
        names = {entry["index"]: entry["name"] for entry in self._interpreter.get_tensor_details()}
        places: dict[str, list[int]] = {}
        for index in self._content.computed:
            places.setdefault(names[index], []).append(index)
        if unclear := [name for name in wanted if len(places.get(name, ())) != 1]:
            found = len(places.get(unclear[0], ()))
            raise AgentError(f"tensors: expected one computed value called '{unclear[0]}', found {found}")
        return {name: self._interpreter.get_tensor(places[name][0]) for name in wanted}

    def profiled(self) -> list[tuple[str, str, list[int]]]:
        """AgentError: the interpreter has no such thing for Python."""
        raise AgentError("profile: expected the load option profile, which was not given")

    def _ports(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """(name, tensor) of inputs and outputs: the model's own names where the file has a signature."""
        for signature in self._content.signatures:
            if signature.subgraph == 0:
                return list(signature.inputs), list(signature.outputs)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        return [(each["name"], each["index"]) for each in inputs], [(each["name"], each["index"]) for each in outputs]


def _shape(details: dict[str, Any]) -> list[int]:
    return [int(size) for size in details["shape"]]
