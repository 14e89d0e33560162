"""The agent: loads one artifact in its runtime on the device that it runs on, runs it and times it.

This file stands alone (the standard library, numpy and the runtime's own library; Python 3.9) and is the one file
that is copied to a device. It reads one JSON request a line from standard input, `{"command": ..., **arguments}`, and
answers each with one line on standard output, `{"result": {...}}` or `{"error": "..."}`. Arrays travel as .npy files.
What libraries print goes to standard error, so that it never mixes with the answers.
"""

from __future__ import annotations

import faulthandler
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

BLOCK_NS = 20_000_000
"""How long one block of the warm-up is meant to last: long enough for a median, short enough to follow a drift."""
STEADY = 0.02
"""Two blocks in a row whose medians differ by less than this share are called steady."""
FLAGS = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni", "amx_int8", "amx_tile"),
    *("asimd", "asimddp", "i8mm", "sve", "bf16", "fphp"),
)
"""Instruction sets that decide how fast quantized kernels are, in the names of Linux's /proc/cpuinfo."""


class AgentError(Exception):
    """A request that can't be carried out, with a message for the person at the other end."""


class OnnxRuntime:
    """An artifact in an onnxruntime session with the options that a plain deployment on a CPU uses."""

    timed = (
        "one call of onnxruntime.InferenceSession.run from Python: inputs are numpy arrays already in memory, "
        "outputs are newly allocated numpy arrays; reading, preprocessing and batching are outside"
    )

    def __init__(self, library: Any, file: str, threads: int) -> None:
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._session = library.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.inputs = [(entry.name, entry.shape, _onnx_dtype(entry.type)) for entry in self._session.get_inputs()]
        self.outputs = [entry.name for entry in self._session.get_outputs()]

    @staticmethod
    def library() -> Any:
        """The runtime's Python package; ImportError where it is not installed."""
        import onnxruntime

        return onnxruntime

    def run(self, feeds: dict[str, Any]) -> list[Any]:
        """The outputs for one batch."""
        outputs: list[Any] = self._session.run(None, feeds)
        return outputs


RUNTIMES = {"onnxruntime": OnnxRuntime}


class Agent:
    """One artifact in one runtime; each public method is a command."""

    def __init__(self) -> None:
        self._runtime: Any = None
        self._library: Any = None
        self._example: dict[str, Any] = {}
        self._threads = 0

    def load(self, runtime: str, file: str, threads: int) -> dict[str, Any]:
        """The artifact is loaded and ran once, on noise; both were timed, and the memory that they took was read."""
        if runtime not in RUNTIMES:
            raise AgentError(f"runtime: expected one of {', '.join(RUNTIMES)}, got '{runtime}'")
        if not os.path.isfile(file):
            raise AgentError(f"{file}: expected an artifact's file, found nothing there")
        kind = RUNTIMES[runtime]
        try:
            self._library = kind.library()
        except ImportError as error:
            how = f"pip install {runtime}"
            raise AgentError(f"{runtime} is not installed for {sys.executable} ({error}): {how}") from None
        self._threads = threads
        _reset_peak()
        before_bytes = _status_bytes("VmRSS")
        start = time.perf_counter_ns()
        self._runtime = kind(self._library, os.path.abspath(file), threads)
        load_ns = time.perf_counter_ns() - start
        self._example = {name: _noise(shape, dtype) for name, shape, dtype in self._runtime.inputs}
        first_inference_ns = self._timed_run()
        return {
            "load_ns": load_ns,
            "first_inference_ns": first_inference_ns,
            "peak_rss_bytes": _status_bytes("VmHWM"),
            "rss_before_load_bytes": before_bytes,
            "inputs": [[name, shape, dtype] for name, shape, dtype in self._runtime.inputs],
            "outputs": self._runtime.outputs,
            "timed": kind.timed,
        }

    def run(self, inputs: dict[str, str], outputs: list[str]) -> dict[str, Any]:
        """Each output of the artifact for all samples (N, ...) lies in its file; fed in the artifact's own batch."""
        import numpy

        runtime = self._loaded()
        arrays = {name: numpy.load(file, allow_pickle=False) for name, file in inputs.items()}
        batch = self._batch(arrays)
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
        return {"samples": samples, "batch": batch}

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

    def identity(self) -> dict[str, Any]:
        """What ran the artifact: processor, instruction sets, clocks, load, and versions of everything that counts."""
        import numpy

        processor = _processor()
        return {
            "cpu": processor["model"],
            "architecture": platform.machine(),
            "logical_cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
            "flags": [flag for flag in FLAGS if flag in processor["flags"]],
            "clock_mhz": processor["clock_mhz"],
            "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "temperature_celsius": _temperature(),
            "load_average": list(os.getloadavg()),
            "kernel": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "numpy": numpy.__version__,
            "runtime": None if self._library is None else self._library.__name__,
            "runtime_version": None if self._library is None else self._library.__version__,
            "threads": self._threads,
        }

    def _loaded(self) -> Any:
        if self._runtime is None:
            raise AgentError("no artifact is loaded yet")
        return self._runtime

    def _timed_run(self) -> int:
        run, example = self._runtime.run, self._example
        start = time.perf_counter_ns()
        run(example)
        return time.perf_counter_ns() - start

    def _batch(self, arrays: dict[str, Any]) -> int:
        """The artifact's batch size (1 where the file leaves it open), with every given array checked against it."""
        expected = {name: (shape, dtype) for name, shape, dtype in self._runtime.inputs}
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


COMMANDS = ("load", "run", "warm_up", "time", "identity")


def _fits(array: Any, shape: list[Any]) -> bool:
    """Whether the array has the rank and, but for the first and open axes, the sizes of `shape`."""
    sizes = zip(shape[1:], array.shape[1:])  # noqa: B905 (strict= came with Python 3.10)
    return len(shape) == array.ndim and all(not isinstance(size, int) or size == found for size, found in sizes)


def _onnx_dtype(name: str) -> str:
    inner = name[len("tensor(") : -1]
    return {"float": "float32", "double": "float64"}.get(inner, inner)


def _noise(shape: list[Any], dtype: str) -> Any:
    """Standard normal numbers, zeros where the input holds integers (0 is a valid token); open axes have size 1."""
    import numpy

    sizes = [size if isinstance(size, int) else 1 for size in shape]
    if not dtype.startswith("float"):
        return numpy.zeros(sizes, dtype)
    return numpy.random.default_rng(0).standard_normal(sizes).astype(dtype)


def _reset_peak() -> None:
    """VmHWM starts again from here (Linux, Documentation/filesystems/proc.rst: clear_refs, 5), so that the imports
    don't count; where the kernel refuses, they count."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")
    except OSError as error:
        sys.stderr.write(f"the peak of resident memory includes the imports: {error}\n")


def _status_bytes(key: str) -> int | None:
    """A size from /proc/self/status; None where the system has no such file."""
    for line in (_read("/proc/self/status") or "").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None


def _read(path: str) -> str | None:
    """The text of a file of the system's; None where it can't be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except OSError:
        return None


def _processor() -> dict[str, Any]:
    values: dict[str, str] = {}
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    flags = values.get("flags") or values.get("Features") or ""
    clock = values.get("cpu MHz")
    return {
        "model": values.get("model name") or values.get("Hardware") or platform.processor() or platform.machine(),
        "flags": flags.split(),
        "clock_mhz": float(clock) if clock else None,
    }


def _temperature() -> float | None:
    """The hottest thermal zone that the kernel shows."""
    zones = [_read(f"/sys/class/thermal/thermal_zone{zone}/temp") for zone in range(32)]
    return max((int(text) / 1000 for text in zones if text), default=None)


def _answer(agent: Agent, line: str) -> dict[str, Any]:
    """The answer to one request; whatever goes wrong is in it, and its traceback on standard error."""
    request = json.loads(line)
    command = request.pop("command")
    if command not in COMMANDS:
        return {"error": f"command: expected one of {', '.join(COMMANDS)}, got '{command}'"}
    method: Callable[..., dict[str, Any]] = getattr(agent, command)
    try:
        return {"result": method(**request)}
    except AgentError as error:
        return {"error": str(error)}
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answers requests until standard input ends."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w")
    requests = os.fdopen(os.dup(0))
    os.dup2(2, 1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    agent = Agent()
    for line in requests:
        answers.write(json.dumps(_answer(agent, line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
