"""What a runtime is: an Emitter that writes its artifact, and a Runner that runs the artifact on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from ..ir.facts import Fact
    from ..ir.state import ModelState
    from ..targets.schema import Target


@dataclass(frozen=True)
class Coverage:
    """How many of the layers that could run in int8 the runtime does run in int8, and why the others don't.

    `left` holds (layer, why); `conversions` counts the quantize and dequantize nodes that the runtime still executes,
    `float_operators` (operator, count) what it computes in float between them.
    """

    quantized: int
    eligible: int
    left: tuple[tuple[str, str], ...] = ()
    conversions: int = 0
    float_operators: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.quantized} of {self.eligible} layers in INT8"


@dataclass(frozen=True)
class Port:
    """How the artifact takes an input, or hands out an output, that the network knows as float and channels first.

    With a scale it is an integer of `dtype`; (N, C, H, W) lies as (N, H, W, C) where `channels_last`.
    """

    name: str
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    channels_last: bool = False


@dataclass(frozen=True)
class Ports:
    """The inputs and outputs of an artifact that differ from the network's; the others are as the network's."""

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()


@dataclass(frozen=True)
class Limit:
    """What the target's hardware has of something, and how much of it the artifact takes, by its file."""

    key: str
    most: float
    found: float


@dataclass(frozen=True)
class TensorNotes:
    """What is said of an input or output. Normalised values are (x - mean) / std; one number holds for all channels.

    `labels` name the values along the last axis; `is_image` says that a tensor (N, height, width, channels) is one.
    """

    description: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    is_image: bool = False


@dataclass(frozen=True)
class BatchRange:
    """How many samples one inference takes where the batch is open: the fewest, those to be fast at, the most."""

    least: int = 1
    best: int = 1
    most: int = 16


@dataclass(frozen=True)
class ModelNotes:
    """What a file says of itself; `inputs` and `outputs` are in its order, or empty where nothing is said of any.

    `batch` is said by artifacts that take a range of samples only, where the recipe leaves their number open.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorNotes, ...] = ()
    outputs: tuple[TensorNotes, ...] = ()
    batch: BatchRange = BatchRange()


NO_NOTES = ModelNotes()


@dataclass(frozen=True)
class Emitted:
    """What an emitter wrote into a folder: `main` is the file that the runtime loads, `files` are all of them.

    `remarks` are what whoever ships the artifact has to know of it.
    """

    main: str
    files: tuple[str, ...]
    total_bytes: int
    macs: int
    parameters: int
    coverage: Coverage
    ports: Ports = Ports()
    remarks: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()

    @property
    def loaded(self) -> tuple[str, ...]:
        """The files of `total_bytes`: those that the runtime loads, `main` and weights that lie beside it."""
        return tuple(name for name in self.files if name in (self.main, f"{self.main}.data"))


@dataclass(frozen=True)
class Reference:
    """A runtime that computes what an artifact should, where the artifact's own can't run. It is never timed.

    `options` are those of its adapter in devices/agent; `said` names it in a sentence.
    """

    runtime: str
    options: Mapping[str, Any]
    said: str


class Emitter(Protocol):
    """Writes a runtime's artifact from a model of which `needs` are true."""

    name: ClassVar[str]
    needs: ClassVar[frozenset[Fact]]
    packages: ClassVar[Mapping[str, str]]
    """What must be installed on this machine, as pip names it, and the module that each brings; the runtime first."""
    extra: ClassVar[str]
    """The extra of this package that brings them."""
    builders: ClassVar[Mapping[str, str]]
    """The same of what is not needed, but says or writes more where it is there."""
    is_portable: ClassVar[bool]
    """Whether the runtime's int8 kernels compute the same on every processor: then any of them proves an artifact."""
    within_one: ClassVar[float]
    """The share of an artifact's output values that must be within one quantization step of what was simulated."""

    def reference(self) -> Reference | None:
        """What proves artifacts on this machine in the runtime's place; None where the runtime itself does."""
        ...

    def refusals(self, batches: Mapping[str, int | None]) -> tuple[str, ...]:
        """Why a network whose inputs have these batches (None: open) can't be emitted, told before any work is done."""
        ...

    def emit(self, state: ModelState, target: Target, out: Path, notes: ModelNotes = NO_NOTES) -> Emitted:
        """The artifact's files lie in the folder `out`, and say what `notes` holds.

        StepError where the model can't be said in the runtime, InputError where the notes do not fit it.
        """
        ...


@dataclass(frozen=True)
class Layer:
    """An operator of an artifact's file that computes, with the value that can be had of it.

    `name` is the user's module where `is_module` says so, otherwise what the file calls the operator; an input of the
    network has the operator "input". `tensor` is the value behind the activations in `fused`; with a scale, it is
    integers that stand for (value - zero_point) * scale. `sources` are the tensors of the layers, and the inputs, that
    it reads, whatever moved them on the way.
    """

    name: str
    is_module: bool
    operator: str
    tensor: str
    dtype: str
    sources: tuple[str, ...] = ()
    fused: tuple[str, ...] = ()
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class OperatorTimes:
    """What one operator took in each of several inferences, with the profiler on."""

    name: str
    operator: str
    samples_ns: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """What several inferences took with the profiler on, and what each operator did."""

    samples_ns: tuple[int, ...]
    operators: tuple[OperatorTimes, ...]


@dataclass(frozen=True)
class WarmUp:
    """How many runs it took until two blocks in a row had the same median, and whether they ever had."""

    runs: int
    steady: bool
    median_ns: int


class Runner(Protocol):
    """An artifact that is loaded in its runtime on a device; leaving the context unloads it.

    `peak_rss_bytes` was read after the artifact was loaded and ran once, before any data came near it, and includes
    `rss_before_load_bytes` (interpreter and libraries); None where the device can't tell. `timed` says what one
    sample of `time` spans.
    """

    runtime: str
    outputs: tuple[str, ...]
    load_ns: int
    first_inference_ns: int
    peak_rss_bytes: int | None
    rss_before_load_bytes: int | None
    timed: str

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Each output (N, ...) for the named inputs (N, ...), fed in the artifact's own batch size."""
        ...

    def warm_up(self, limit_seconds: float = 5.0) -> WarmUp:
        """The artifact ran until it was steady or the time was up."""
        ...

    def time(self, runs: int) -> list[int]:
        """Raw nanoseconds of `runs` inferences, in order."""
        ...

    def tensors(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The file's inputs, its outputs and what the option `keep_tensors` named, of one batch, as the file has them.

        StepError where the runtime can't keep a tensor, or where it takes more than one inference.
        """
        ...

    def profile(self, runs: int) -> Profile:
        """What `runs` inferences took, by operator; once, and StepError where the option `profile` was not given."""
        ...

    def identity(self) -> dict[str, Any]:
        """What ran the artifact, as it is now: processor, clocks, load, versions, threads."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
