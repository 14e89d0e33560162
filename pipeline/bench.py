"""`bench` and `verify`: finished artifacts, measured and checked again from their directories alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy, latency
from ..benchmarks.compare import Comparison, compare
from ..benchmarks.figures import speed_up
from ..benchmarks.latency import LatencyReport
from ..benchmarks.report import latency_text
from ..benchmarks.side_by_side import side_by_side
from ..devices import registry
from ..ir.errors import InputError, Problem, StepError
from ..runtimes import emitter, open_prover, open_runner
from ..ship import manifest
from .parity import Golden
from .publish import GOLDEN_FOLDER, ports_of
from .store import devices_folder
from .ways import AGAINST, ARTIFACT, AS_IT_IS, Asked, Way, pairs, ways

if TYPE_CHECKING:
    from ..benchmarks.accuracy import Parity
    from ..devices.contract import Device
    from ..ir.progress import Progress
    from ..runtimes.contract import Runner


@dataclass(frozen=True)
class Bench:
    """What `bench` measured, by the name of the way; `comparisons` are of (other, base) that were taken in turns."""

    reports: dict[str, LatencyReport]
    ways: dict[str, Way]
    comparisons: dict[tuple[str, str], Comparison]

    @property
    def comparison(self) -> Comparison | None:
        """That of the artifact and the other; None where they were not two, each in one way."""
        return self.comparisons.get((ARTIFACT, AGAINST))

    def to_json(self) -> dict[str, Any]:
        """The document of `bench --json`, raw samples included."""
        every = [{"of": other, "to": base, **asdict(found)} for (other, base), found in self.comparisons.items()]
        return {
            "schema": 1,
            "reports": {name: report.to_json() for name, report in self.reports.items()},
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "ways": {name: way.to_json() for name, way in self.ways.items()},
            "comparisons": every,
        }

    def to_text(self) -> str:
        """One column for an artifact, as it is; a table with a line for each way where there are several."""
        paths = {name: str(way.folder) for name, way in self.ways.items()}
        if all(name == way.role and not way.has_events for name, way in self.ways.items()):
            text = latency_text({paths[name]: report for name, report in self.reports.items()})
            found = self.comparison
            return text if found is None else f"{text}{paths[ARTIFACT]} against {paths[AGAINST]}: {speed_up(found)}\n"
        batches = {name: way.batch or 1 for name, way in self.ways.items()}
        title = "\n".join(
            f"{role}: {folder}" for role, folder in {w.role: w.folder for w in self.ways.values()}.items()
        )
        return side_by_side(self.reports, batches, self.comparisons, title)


@dataclass(frozen=True)
class Difference:
    """How far an output is from its golden vectors, in quantization steps, and the share of values that are the same.

    `allowed_steps` is how far it may be.
    """

    parity: Parity
    share_equal: float
    allowed_steps: float


@dataclass(frozen=True)
class Verified:
    """What `verify` found of each output, and what ran the artifact; `is_emulated`: no such processor was there.

    `reference` is the runtime that stood in for the artifact's own, where that can't run. `kernels` are those whose
    rounding the golden vectors follow, where they follow others than the proof's.
    """

    outputs: dict[str, Difference]
    device: str
    is_emulated: bool
    identity: dict[str, Any]
    reference: str = ""
    kernels: str = ""

    @property
    def place(self) -> str:
        """Where it ran, for a sentence."""
        if self.identity.get("gpu"):
            return f"{self.device} ({self.identity['gpu']})"
        if self.reference:
            return f"{self.device} ({self.identity['cpu']}) by {self.reference}, a reference runtime"
        if self.is_emulated:
            return f"{self.device} (emulated {self.identity['cpu']})"
        return f"{self.device} ({self.identity['cpu']})"

    def to_json(self) -> dict[str, Any]:
        """The document of `verify --json`."""
        outputs = {
            name: {**asdict(each.parity), "share_equal": each.share_equal, "allowed_steps": each.allowed_steps}
            for name, each in self.outputs.items()
        }
        where = {"device": self.device, "emulated": self.is_emulated, "identity": self.identity}
        where |= {"reference_runtime": self.reference or None, "kernels": self.kernels or None}
        return {"schema": 1, **where, "outputs": outputs}


def device_named(name: str) -> Device:
    """The device of that name. InputError where there is none, or where it has to be made first."""
    return registry.device_named(name, devices_folder())


def bench(
    artifact: Path,
    against: Path | None,
    device: Device,
    threads: int | None,
    progress: Progress,
    asked: Asked = AS_IT_IS,
) -> Bench:
    """The latency of the artifact in each way that is asked for, or beside another's. InputError, StepError.

    Ways of one batch are measured in turns. An emulated device is refused: its time is never reported as a latency.
    """
    registry.refuse_emulated(device, "bench")
    groups = ways(artifact, against, asked)
    threads = threads or groups[0][-1].found.threads
    reports: dict[str, LatencyReport] = {}
    for group in groups:
        with ExitStack() as stack:
            runners = {way.name: stack.enter_context(_open(device, way, threads)) for way in group}
            reports |= latency.measure(runners, device.name, progress=progress, has_events=asked.events)
    compared = {
        (other.name, base.name): compare(reports[base.name], reports[other.name])
        for group in groups
        for base, other in pairs(group)
    }
    return Bench(reports, {way.name: way for group in groups for way in group}, compared)


def verify(artifact: Path, device: Device) -> Verified:
    """How far the artifact is from its golden vectors, on the device now.

    InputError where a file is not what the manifest says; StepError where the outputs are further off than the same
    file may be.
    """
    found = manifest.read(artifact)
    if f"{GOLDEN_FOLDER}/inputs.npz" not in found.files:
        raise InputError(Problem(str(artifact), GOLDEN_FOLDER, "golden vectors", "none"))
    golden = Golden.read(artifact / GOLDEN_FOLDER)
    registry.refuse_foreign(device, found.runtime, artifact)
    with open_prover(found.runtime, device, artifact / found.main, ports_of(found)) as runner:
        outputs = dict(zip(runner.outputs, runner.run(golden.inputs), strict=True))
        identity = runner.identity()
    golden, kernels = golden.as_run_by(identity)
    checked = {
        name: Difference(
            parity=accuracy.parity(golden.outputs[name], outputs[name], golden.steps[name]),
            share_equal=float((golden.outputs[name] == outputs[name]).mean()),
            allowed_steps=golden.allowed_steps,
        )
        for name in golden.outputs
    }
    reference = emitter(found.runtime).reference()
    said = "" if reference is None else reference.said
    verified = Verified(checked, device.name, device.is_emulated, identity, said, kernels)
    for name, each in checked.items():
        if not each.parity.largest_steps <= each.allowed_steps:
            raise StepError(
                f"verify: output '{name}' is {each.parity.largest_steps:.3g} steps from its golden vector, expected at"
                f" most {each.allowed_steps:g}: {verified.place} computes otherwise than what made it,"
                f" {found.runtime} {found.runtime_version}"
            )
    return verified


def _open(device: Device, way: Way, threads: int) -> Runner:
    registry.refuse_foreign(device, way.found.runtime, way.folder)
    return open_runner(way.found.runtime, device, way.folder / way.file, threads, ports_of(way.found), way.options)
