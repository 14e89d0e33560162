"""The host's side of a runner: an agent on a device, which holds the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..devices.contract import Device
from ..ir.errors import StepError
from .contract import OperatorTimes, Ports, Profile, WarmUp
from .ports import into, out_of

if TYPE_CHECKING:
    import numpy as np

CHUNK_BYTES = 64 << 20
"""How many bytes of inputs travel to the agent at a time: memory stays bounded, however many samples there are."""


class AgentRunner:
    """An artifact in an agent of its own on `device`; see `runtimes.contract.Runner`. StepError where it won't load.

    `options` are the agent's of the runtime: devices/agent/on_*.py.
    """

    def __init__(
        self, runtime: str, device: Device, file: Path, threads: int, ports: Ports, options: Mapping[str, Any]
    ) -> None:
        self.runtime, self._ports, self._options = runtime, ports, dict(options)
        with ExitStack() as stack:
            self._session = stack.enter_context(device.start())
            try:
                placed = self._session.place(file)
                loaded = self._session.call(
                    "load", runtime=runtime, file=placed, threads=threads, options=self._options
                )
            except StepError as error:
                raise StepError(f"{file.name} in {runtime} on {device.name}: {error}") from None
            stack.pop_all()
        self.outputs: tuple[str, ...] = tuple(loaded["outputs"])
        self.load_ns: int = loaded["load_ns"]
        self.first_inference_ns: int = loaded["first_inference_ns"]
        self.peak_rss_bytes: int | None = loaded["peak_rss_bytes"]
        self.rss_before_load_bytes: int | None = loaded["rss_before_load_bytes"]
        self.timed: str = loaded["timed"]

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Each output (N, ...) for the named inputs (N, ...), fed in the artifact's own batch size."""
        import numpy as np

        samples = max(len(array) for array in arrays.values())
        sample_bytes = sum(array.nbytes for array in arrays.values()) / max(samples, 1)
        chunk = max(1, int(CHUNK_BYTES / max(sample_bytes, 1)))
        starts = range(0, max(samples, 1), chunk)
        parts = [self._run({name: array[at : at + chunk] for name, array in arrays.items()}) for at in starts]
        return tuple(np.concatenate(values) for values in zip(*parts, strict=True))

    def warm_up(self, limit_seconds: float = 5.0) -> WarmUp:
        """The artifact ran until it was steady or the time was up."""
        answer = self._session.call("warm_up", limit_seconds=limit_seconds)
        return WarmUp(answer["runs"], answer["steady"], answer["median_ns"])

    def time(self, runs: int) -> list[int]:
        """Raw nanoseconds of `runs` inferences, in order."""
        samples: list[int] = self._session.call("time", runs=runs)["samples_ns"]
        return samples

    def tensors(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The file's inputs, its outputs and what the option `keep_tensors` named, of one batch."""
        given, outputs = self._call(arrays)
        found = {**given, **dict(zip(self.outputs, outputs, strict=True))}
        if not self._options.get("keep_tensors"):
            return found
        folder = PurePosixPath(self._session.output_files(1)[0]).parent
        kept = self._session.call("tensors", folder=str(folder))["files"]
        values = self._session.receive([file for _, file in kept])
        return {**found, **{name: value for (name, _), value in zip(kept, values, strict=True)}}

    def profile(self, runs: int) -> Profile:
        """What `runs` inferences took, by operator; once, with the option `profile`."""
        answer = self._session.call("profile", runs=runs)
        operators = (OperatorTimes(name, kind, tuple(samples)) for name, kind, samples in answer["operators"])
        return Profile(tuple(answer["samples_ns"]), tuple(operators))

    def identity(self) -> dict[str, Any]:
        """What ran the artifact, as it is now."""
        return self._session.call("identity")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def _run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        outputs = {port.name: port for port in self._ports.outputs}
        answers = zip(self.outputs, self._call(arrays)[1], strict=True)
        return tuple(out_of(values, outputs[name]) if name in outputs else values for name, values in answers)

    def _call(self, arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
        """The inputs as the file takes them, and the outputs as it gives them."""
        files = self._session.output_files(len(self.outputs))
        inputs = {port.name: port for port in self._ports.inputs}
        given = {name: into(array, inputs[name]) if name in inputs else array for name, array in arrays.items()}
        self._session.call("run", inputs=self._session.send(given), outputs=files)
        return given, self._session.receive(files)
