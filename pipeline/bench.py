"""`bench` and `verify`: finished artifacts, measured and checked again from their directories alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy, latency
from ..benchmarks.compare import Comparison, compare
from ..benchmarks.latency import LatencyReport
from ..devices import registry
from ..ir.errors import InputError, Problem, StepError
from ..runtimes import emitter, open_prover, open_runner
from ..ship import manifest
from ..ship.manifest import Manifest
from .parity import Golden
from .publish import GOLDEN_FOLDER, ports_of
from .store import devices_folder

if TYPE_CHECKING:
    from ..benchmarks.accuracy import Parity
    from ..devices.contract import Device
    from ..ir.progress import Progress


@dataclass(frozen=True)
class Bench:
    """What `bench` measured, and of two artifacts which is faster."""

    reports: dict[str, LatencyReport]
    comparison: Comparison | None

    def to_json(self) -> dict[str, Any]:
        """The document of `bench --json`, raw samples included."""
        comparison = None
        if self.comparison is not None:
            found = self.comparison
            comparison = {"ratio": found.ratio, "low": found.low, "high": found.high, "verdict": found.verdict}
        reports = {name: report.to_json() for name, report in self.reports.items()}
        return {"schema": 1, "reports": reports, "comparison": comparison}


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

    `reference` is the runtime that stood in for the artifact's own, where that can't run.
    """

    outputs: dict[str, Difference]
    device: str
    is_emulated: bool
    identity: dict[str, Any]
    reference: str = ""

    @property
    def place(self) -> str:
        """Where it ran, for a sentence."""
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
        where["reference_runtime"] = self.reference or None
        return {"schema": 1, **where, "outputs": outputs}


def device_named(name: str) -> Device:
    """The device of that name. InputError where there is none, or where it has to be made first."""
    return registry.device_named(name, devices_folder())


def bench(artifact: Path, against: Path | None, device: Device, threads: int | None, progress: Progress) -> Bench:
    """The artifact's latency, or that of two artifacts measured in turns. InputError, StepError.

    An emulated device is refused: its time is never reported as a latency.
    """
    registry.refuse_emulated(device, "bench")
    folders = {"artifact": artifact} if against is None else {"against": against, "artifact": artifact}
    found = {name: manifest.read(folder) for name, folder in folders.items()}
    with ExitStack() as stack:
        runners = {
            name: stack.enter_context(_open(device, folders[name], found[name], threads or found["artifact"].threads))
            for name in folders
        }
        reports = latency.measure(runners, device.name, progress=progress)
    comparison = None if against is None else compare(reports["against"], reports["artifact"])
    return Bench(reports, comparison)


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
    verified = Verified(checked, device.name, device.is_emulated, identity, said)
    for name, each in checked.items():
        if not each.parity.largest_steps <= each.allowed_steps:
            raise StepError(
                f"verify: output '{name}' is {each.parity.largest_steps:.3g} steps from its golden vector, expected at"
                f" most {each.allowed_steps:g}: {verified.place} computes otherwise than what made it,"
                f" {found.runtime} {found.runtime_version}"
            )
    return verified


def _open(device: Device, folder: Path, found: Manifest, threads: int) -> Any:
    registry.refuse_foreign(device, found.runtime, folder)
    return open_runner(found.runtime, device, folder / found.main, threads, ports_of(found))
