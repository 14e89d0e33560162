"""What the agent can be asked for: one artifact in one runtime; each public method is a command."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from . import identity
from .contract import AgentError, Runtime
from .memory import reset_peak, status_bytes
from .on_onnxruntime import OnnxRuntime
from .on_tensorrt import TensorRt
from .on_tflite import TFLite

BLOCK_NS = 20_000_000
"""How long one block of the warm-up is meant to last: long enough for a median, short enough to follow a drift."""
STEADY = 0.02
"""Two blocks in a row whose medians differ by less than this share are called steady."""
RUNTIMES: dict[str, type[Runtime]] = {"onnxruntime": OnnxRuntime, "tflite": TFLite, "tensorrt": TensorRt}
COMMANDS = ("load", "run", "tensors", "warm_up", "time", "profile", "identity")


class Agent:
    """One artifact in one runtime."""

    def __init__(self) -> None:
        self._runtime: Any = None
        self._example: dict[str, Any] = {}
        self._threads = 0
        self._version: tuple[str | None, str | None] = (None, None)
        self._inferences = 0
        """How many inferences the last `run` took; 0 where something else ran since."""

    def load(self, runtime: str, file: str, threads: int, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """The artifact is loaded and ran once, on noise; both were timed, and the memory that they took was read."""
        if runtime not in RUNTIMES:
            raise AgentError(f"runtime: expected one of {', '.join(RUNTIMES)}, got '{runtime}'")
        if not os.path.isfile(file):
            raise AgentError(f"{file}: expected an artifact's file, found nothing there")
        kind = RUNTIMES[runtime]
        checked = _checked(options or {}, kind.options)
        try:
            library = kind.library()
        except ImportError as error:
            how = f"pip install {kind.package}"
            raise AgentError(f"{runtime} is not installed for {sys.executable} ({error}): {how}") from None
        self._version = kind.version(library)
        self._threads = threads
        self._runtime = None
        opening = kind(library, os.path.abspath(file), threads, checked)
        reset_peak()
        before_bytes = status_bytes("VmRSS")
        start = time.perf_counter_ns()
        opening.open()
        load_ns = time.perf_counter_ns() - start
        self._runtime = opening
        self._example = {name: _noise(shape, dtype) for name, shape, dtype in opening.inputs}
        first_inference_ns = self._timed_run()
        return {
            "load_ns": load_ns,
            "first_inference_ns": first_inference_ns,
            "peak_rss_bytes": status_bytes("VmHWM"),
            "rss_before_load_bytes": before_bytes,
            "inputs": [[name, shape, dtype] for name, shape, dtype in opening.inputs],
            "outputs": opening.outputs,
            "timed": kind.timed,
        }

    def run(self, inputs: dict[str, str], outputs: list[str]) -> dict[str, Any]:
        """Each output of the artifact for all samples (N, ...) lies in its file; fed in the artifact's own batch."""
        import numpy

        runtime = self._loaded()
        arrays = {name: numpy.load(file, allow_pickle=False) for name, file in inputs.items()}
        batch = _batch(arrays, runtime.inputs)
        samples = len(next(iter(arrays.values())))
        if missing := -samples % batch:  # the last batch is filled up with its last sample
            arrays = {name: numpy.concatenate([array, *[array[-1:]] * missing]) for name, array in arrays.items()}
        parts: list[list[Any]] = [[] for _ in outputs]
        for start in range(0, samples, batch):
            feeds = {name: array[start : start + batch] for name, array in arrays.items()}
            for index, values in enumerate(runtime.run(feeds)):
                if len(values.shape) == 0 or len(values) != batch:
                    raise AgentError(f"output {index}: expected a first axis of {batch} samples, got {values.shape}")
                parts[index].append(values)
        for index, file in enumerate(outputs):
            numpy.save(file, numpy.concatenate(parts[index])[:samples], allow_pickle=False)
        self._inferences = -(-samples // batch)
        return {"samples": samples, "batch": batch}

    def tensors(self, folder: str) -> dict[str, Any]:
        """What the one inference of the last `run` kept (load option `keep_tensors`) lies in `folder`, a file for each.

        The answer's `files` are [name, file].
        """
        import numpy

        runtime = self._loaded()
        if self._inferences != 1:
            raise AgentError(f"tensors: expected one inference since the last request, found {self._inferences}")
        files = []
        for index, (name, values) in enumerate(runtime.tensors().items()):
            files.append([name, os.path.join(folder, f"tensor-{index}.npy")])
            numpy.save(files[-1][1], values, allow_pickle=False)
        return {"files": files}

    def warm_up(self, limit_seconds: float) -> dict[str, Any]:
        """The artifact ran in blocks until two medians in a row agreed, or until the time was up."""
        self._loaded()
        deadline = time.perf_counter_ns() + int(limit_seconds * 1e9)
        previous = self._timed_run()
        runs, steady = 1, False
        while not steady and time.perf_counter_ns() < deadline:
            size = max(3, min(100, BLOCK_NS // max(previous, 1)))
            median = sorted(self._timed_run() for _ in range(size))[size // 2]
            steady = abs(median - previous) <= STEADY * previous
            previous = median
            runs += size
        return {"runs": runs, "steady": steady, "median_ns": previous}

    def time(self, runs: int) -> dict[str, Any]:
        """Raw nanoseconds of `runs` single inferences, in order."""
        self._loaded()
        return {"samples_ns": [self._timed_run() for _ in range(runs)], "timed": self._runtime.timed}

    def profile(self, runs: int) -> dict[str, Any]:
        """Nanoseconds of `runs` inferences and of each operator in them; the profile (load option `profile`) ended."""
        samples = self.time(runs)["samples_ns"]
        operators = [[name, kind, times[-runs:]] for name, kind, times in self._runtime.profiled()]
        return {"samples_ns": samples, "operators": operators}

    def identity(self) -> dict[str, Any]:
        """What ran the artifact: processor, instruction sets, clocks, load, and versions of everything that counts."""
        runtime, version = self._version
        more = {} if self._runtime is None else self._runtime.about()
        named = {"runtime": runtime, "runtime_version": version, "threads": self._threads}
        return {**identity.identity(), **named, **more}

    def _loaded(self) -> Any:
        if self._runtime is None:
            raise AgentError("no artifact is loaded yet")
        return self._runtime

    def _timed_run(self) -> int:
        self._inferences = 0
        run, example = self._runtime.run, self._example
        start = time.perf_counter_ns()
        run(example)
        return time.perf_counter_ns() - start


def _checked(options: dict[str, Any], known: dict[str, type]) -> dict[str, Any]:
    """The options, of which each is known and of its type."""
    for name, value in options.items():
        if name not in known:
            raise AgentError(f"options: expected only {', '.join(sorted(known)) or 'none'}, got '{name}'")
        if type(value) is not known[name]:
            raise AgentError(f"options.{name}: expected {known[name].__name__}, got {value!r}")
    return options


def _batch(arrays: dict[str, Any], inputs: list[tuple[str, list[Any], str]]) -> int:
    """The artifact's batch size (1 where the file leaves it open), with every given array checked against it."""
    expected = {name: (shape, dtype) for name, shape, dtype in inputs}
    if set(arrays) != set(expected):
        raise AgentError(f"inputs: expected {sorted(expected)}, got {sorted(arrays)}")
    if len({len(array) for array in arrays.values()}) != 1 or min(len(array) for array in arrays.values()) == 0:
        raise AgentError("inputs: expected the same number of samples in each, and at least one")
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        if not _fits(array, shape) or str(array.dtype) != dtype:
            wanted, found = f"{dtype} {['N', *shape[1:]]}", f"{array.dtype} {['N', *array.shape[1:]]}"
            raise AgentError(f"input '{name}': expected {wanted}, got {found}")
    first = next(iter(expected.values()))[0][0]
    return first if isinstance(first, int) else 1


def _fits(array: Any, shape: list[Any]) -> bool:
    """Whether the array has the rank and, but for the first and open axes, the sizes of `shape`."""
    sizes = zip(shape[1:], array.shape[1:])  # noqa: B905 (strict= came with Python 3.10)
    return len(shape) == array.ndim and all(not isinstance(size, int) or size == found for size, found in sizes)


def _noise(shape: list[Any], dtype: str) -> Any:
    """Standard normal numbers, zeros where the input holds integers (0 is a valid token); open axes have size 1."""
    import numpy

    sizes = [size if isinstance(size, int) else 1 for size in shape]
    if not dtype.startswith("float"):
        return numpy.zeros(sizes, dtype)
    return numpy.random.default_rng(0).standard_normal(sizes).astype(dtype)
