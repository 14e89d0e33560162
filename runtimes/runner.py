"""The host's side of a runner: an agent on a device, which holds the artifact."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..devices.contract import Device
from ..ir.errors import StepError
from .contract import Ports, WarmUp
from .ports import into, out_of

if TYPE_CHECKING:
    import numpy as np

CHUNK_BYTES = 64 << 20
"""How many bytes of inputs travel to the agent at a time: memory stays bounded, however many samples there are."""


class AgentRunner:
    """An artifact in an agent of its own on `device`; see `runtimes.contract.Runner`. StepError where it won't load."""

    def __init__(self, runtime: str, device: Device, file: Path, threads: int, ports: Ports) -> None:
        self.runtime, self._ports = runtime, ports
        with ExitStack() as stack:
            self._session = stack.enter_context(device.start())
            try:
                loaded = self._session.call("load", runtime=runtime, file=self._session.place(file), threads=threads)
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
        files = self._session.output_files(len(self.outputs))
        inputs = {port.name: port for port in self._ports.inputs}
        given = {name: into(array, inputs[name]) if name in inputs else array for name, array in arrays.items()}
        self._session.call("run", inputs=self._session.send(given), outputs=files)
        outputs = {port.name: port for port in self._ports.outputs}
        answers = zip(self.outputs, self._session.receive(files), strict=True)
        return tuple(out_of(values, outputs[name]) if name in outputs else values for name, values in answers)
