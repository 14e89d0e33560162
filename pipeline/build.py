"""`build`: plan, run, emit, verify, measure, judge by the budget, publish; target by target."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..devices import machine, registry
from ..devices.local import LocalDevice
from ..ir.errors import EdgewrightError, InputError, Problem, StepError
from ..runtimes import emitter
from . import origin, publish
from .agreement import Agreement, agreements
from .budget import Verdict, verdicts
from .judge import ARTIFACT, BASELINE, Judgement, judge
from .parity import Golden
from .planning import baseline_plan, plan
from .store import storage_error
from .workshop import Made, Workshop

if TYPE_CHECKING:
    from ..devices.contract import Device
    from ..ir.progress import Progress
    from ..recipe.schema import Recipe
    from ..targets import Target
    from .store import Store

Status = Literal["ok", "over-budget", "failed"]


@dataclass(frozen=True)
class Result:
    """What became of one target. A failed one has an error and no artifact; an over-budget one keeps its artifact."""

    target: str
    runtime: str
    status: Status
    folder: Path | None = None
    made: Made | None = None
    judgement: Judgement | None = None
    verdicts: tuple[Verdict, ...] = ()
    remarks: tuple[str, ...] = ()
    error: EdgewrightError | None = None

    def to_json(self) -> dict[str, Any]:
        """One entry of `build --json`'s results."""
        document: dict[str, Any] = {"target": self.target, "runtime": self.runtime, "status": self.status}
        if self.error is not None:
            return {**document, "error": str(self.error)}
        if self.made is None or self.judgement is None:
            return document
        steps = [
            {"pass": step.text, "seconds": step.seconds, "cached": step.cached, "notes": list(step.notes)}
            for step in self.made.steps
        ]
        skips = [{"what": skip.what, "why": skip.why} for skip in self.made.plan.skips]
        return {
            **document,
            "artifact": str(self.folder),
            **self.judgement.summary.to_json(),
            "budget": [
                {"key": each.key, "limit": each.limit, "found": each.found, "met": None if each.open else each.is_met}
                for each in self.verdicts
            ],
            "reused": list(self.judgement.reused),
            "remarks": list(self.remarks),
            "steps": steps,
            "skips": skips,
        }


def build(
    recipe: Recipe, targets: Sequence[Target], out: Path, store: Store, progress: Progress, device: Device | None = None
) -> tuple[Result, ...]:
    """A result for each target, and `out/TARGET` for each that did not fail. What fails does not stop the others.

    Raises InputError where the output folder can't be written or the recipe's model or data can't be read at all.
    """
    registry.refuse_emulated(device or LocalDevice(), "build")
    publish.check_writable(out)
    workshop = Workshop(recipe, store, progress, device or LocalDevice())
    return tuple(_build_one(workshop, target, out, device or LocalDevice()) for target in targets)


def agreement(results: Sequence[Result]) -> tuple[Agreement, ...]:
    """How often the artifacts of each two targets predict the same; of those that did not fail."""
    found = {each.target: each.judgement.summary.artifact.evaluation for each in results if each.judgement is not None}
    return agreements(found)


def exit_code(results: Sequence[Result]) -> int:
    """0 where all is well; 3 where a budget is missed; 1 (2: the input is wrong) where a target failed."""
    codes = {result.error.exit_code for result in results if result.error is not None}
    if codes:
        return min(codes)
    return 3 if any(result.status == "over-budget" for result in results) else 0


def _build_one(workshop: Workshop, target: Target, out: Path, device: Device) -> Result:
    try:
        return _built(workshop, target, out, device)
    except EdgewrightError as error:
        return Result(target.name, target.runtime, "failed", error=error)
    except OSError as error:
        return Result(target.name, target.runtime, "failed", error=storage_error(error, out))


def _built(workshop: Workshop, target: Target, out: Path, device: Device) -> Result:
    require_runtime(target)
    publish.check_replaceable(out / target.name)
    threads = _threads(workshop.recipe, target)
    planned, uncompressed = plan(workshop.recipe, target), baseline_plan(workshop.recipe, target)
    for split in sorted({split for step in planned.steps for split in step.step.reads} | {"evaluation"}):
        workshop.data_print(split)
    artifact = workshop.make(planned, target)
    baseline = workshop.make(uncompressed, target, "baseline: ")
    unlike = machine.mismatches(target, machine.this_machine())
    doubted = () if emitter(target.runtime).is_portable else unlike
    judgement = judge(workshop, baseline, artifact, device, threads, doubted)
    where = f"measured on this machine, which is not {target.name}" if unlike else ""
    limits = [Verdict(limit.key, limit.most, limit.found, "target") for limit in artifact.emitted.limits]
    found = (*verdicts(workshop.recipe.budget, judgement.summary, where), *limits)
    is_met = all(verdict.is_met for verdict in found)
    result = Result(
        target=target.name,
        runtime=target.runtime,
        status="ok" if is_met else "over-budget",
        folder=out / target.name,
        made=artifact,
        judgement=judgement,
        verdicts=found,
        remarks=(*artifact.emitted.remarks, *planned.remarks, *_remarks(target, unlike, judgement.summary.reference)),
    )
    _publish(result, workshop, baseline, threads)
    origin.remember(workshop.store, artifact.key, workshop.recipe, target)
    return result


def _publish(result: Result, workshop: Workshop, baseline: Made, threads: int) -> None:
    folder, artifact, judgement = result.folder, result.made, result.judgement
    if folder is None or artifact is None or judgement is None:
        return
    summary = judgement.summary
    results = {"status": result.status, **summary.to_json()}
    if publish.is_current(folder, artifact.key, results):
        return

    def write(fresh: Path) -> None:
        for place, made, measured, which in (
            (fresh, artifact, summary.artifact, ARTIFACT),
            (fresh / publish.BASELINE_FOLDER, baseline, summary.baseline, BASELINE),
        ):
            publish.write_artifact(
                place,
                workshop,
                made,
                target=result.target,
                threads=threads,
                golden=Golden.read(judgement.golden[which]),
                plan_text=plan_text(made),
                report=measured.latency,
                results=results if which == ARTIFACT else {},
            )

    publish.replace_folder(folder, write, workshop.store)


def plan_text(made: Made) -> str:
    """The plan and, below each step, what was decided while it ran."""
    lines = [made.plan.to_text()]
    for step in made.steps:
        if step.notes:
            lines.append(f"decided by {step.text.partition('{')[0]}")
            lines.extend(f"     {note}" for note in step.notes)
    return "\n".join(lines).rstrip() + "\n"


def require_runtime(target: Target) -> None:
    """StepError where the runtime that the artifact must prove itself in is missing, before any work is done."""
    runtime = emitter(target.runtime)
    missing = [package for package, module in runtime.packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        how = f"pip install 'edgewright[{runtime.extra}]'"
        raise StepError(f"{' and '.join(missing)} is not installed for {sys.executable}: {how}")


def _threads(recipe: Recipe, target: Target) -> int:
    threads = recipe.threads or target.threads
    if target.hardware is not None and threads > target.hardware.cores:
        most = f"at most the {target.hardware.cores} cores of {target.name}"
        raise InputError(Problem(str(recipe.path), "threads", most, str(threads)))
    return threads


def _remarks(target: Target, unlike: Sequence[str], reference: str) -> tuple[str, ...]:
    """What a reader must know of where the numbers come from: this machine may not be the target."""
    if reference:
        why = "; ".join(unlike) or f"{target.runtime} is not installed here"
        return (f"accuracy and parity are those of {reference}, a reference runtime, not {target.name}: {why}",)
    if not unlike:
        return ()
    here = "accuracy, latency and memory are those of the artifact on this machine"
    return (f"{here}, which is not {target.name}: {'; '.join(unlike)}",)
