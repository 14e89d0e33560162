"""What an artifact is worth, found on its own runtime: accuracy, flips, latency. Each is kept by what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy, latency
from ..benchmarks.accuracy import Evaluation
from ..benchmarks.compare import Comparison, compare
from ..benchmarks.latency import LatencyReport
from ..benchmarks.report import Measured, Summary
from ..recipe.code_files import code_files
from ..recipe.user_code import referenced_file
from ..runtimes import emitter, open_prover, open_runner
from .keys import digest, own_source, runtime_version
from .measuring import place_of
from .parity import prove
from .store import sha256_of

if TYPE_CHECKING:
    from ..devices.contract import Device
    from .workshop import Made, Workshop

BASELINE, ARTIFACT = "baseline", "artifact"


@dataclass(frozen=True)
class Judgement:
    """What was measured of baseline and artifact; `reused` names what was known from an earlier build."""

    summary: Summary
    golden: Mapping[str, Path]
    reused: tuple[str, ...]


def judge(
    workshop: Workshop, baseline: Made, artifact: Made, device: Device, threads: int, unlike: Sequence[str]
) -> Judgement:
    """Everything that a report says of the two; `unlike` says why the device is not the target.

    StepError where one of the two does not compute what was simulated.
    """
    _, baseline_golden, baseline_proved = prove(workshop, baseline, device, unlike, BASELINE)
    parity, artifact_golden, artifact_proved = prove(workshop, artifact, device, unlike, ARTIFACT)
    before, before_known = evaluated(workshop, baseline, device)
    after, after_known = evaluated(workshop, artifact, device)
    reference = emitter(artifact.runtime).reference()
    reports: dict[str, LatencyReport] = {}
    latency_known = True
    if reference is None:
        reports, latency_known = timed(workshop, {BASELINE: baseline, ARTIFACT: artifact}, device, threads)
    summary = Summary(
        target=artifact.plan.target,
        baseline=measured(baseline, before, reports.get(BASELINE), before_known and latency_known),
        artifact=measured(artifact, after, reports.get(ARTIFACT), after_known and latency_known),
        comparison=_compared(reports),
        parity=parity,
        reference="" if reference is None else reference.said,
    )
    known = {
        "parity": baseline_proved and artifact_proved,
        "accuracy": before_known and after_known,
        "latency": bool(reports) and latency_known,
    }
    reused = tuple(name for name, is_known in known.items() if is_known)
    return Judgement(summary, {BASELINE: baseline_golden, ARTIFACT: artifact_golden}, reused)


def _compared(reports: Mapping[str, LatencyReport]) -> Comparison | None:
    return compare(reports[BASELINE], reports[ARTIFACT]) if reports else None


def measured(made: Made, evaluation: Evaluation, report: LatencyReport | None, is_reused: bool = False) -> Measured:
    """What is known of the artifact, as reports have it."""
    emitted = made.emitted
    return Measured(
        evaluation=evaluation,
        latency=report,
        total_bytes=emitted.total_bytes,
        macs=emitted.macs,
        parameters=emitted.parameters,
        coverage=emitted.coverage,
        is_reused=is_reused,
        compressed_bytes=made.compressed_bytes,
        entropy_coded=made.entropy_coded,
    )


def evaluated(workshop: Workshop, made: Made, device: Device) -> tuple[Evaluation, bool]:
    """The task's metrics of the artifact in its runtime, and whether they were known from an earlier build."""
    recipe, store = workshop.recipe, workshop.store
    judged_by = [recipe.task]
    if ":" in recipe.task:
        own = code_files(referenced_file(recipe.folder, recipe.task))
        judged_by += [sha256_of(file) for file in own]
    data = workshop.data_print("evaluation")
    key = digest("evaluate", made.content, data, judged_by, runtime_version(made.runtime), device.name, own_source())
    with store.lock(key):
        if kept := store.find_json(key):
            return _evaluation(kept), True
        task = accuracy.task(recipe.task, recipe.folder, str(recipe.path))
        names = [spec.name for spec in workshop.inputs]
        with open_prover(made.runtime, device, made.main, made.emitted.ports) as runner:
            found = accuracy.evaluate(runner, workshop.data.split("evaluation"), task, names, workshop.progress)
        store.put_json(key, _plain(found))
    return found, False


def timed(
    workshop: Workshop, artifacts: Mapping[str, Made], device: Device, threads: int
) -> tuple[dict[str, LatencyReport], bool]:
    """All of them timed in turns, and whether they had been; only one build of this cache measures at a time."""
    store, runtime = workshop.store, next(iter(artifacts.values())).runtime
    contents = [[name, made.content] for name, made in artifacts.items()]
    key = digest("measure", contents, threads, runtime_version(runtime), place_of(device), own_source())
    with store.lock(key), store.lock("measuring"), ExitStack() as stack:
        if kept := store.find_json(key):
            return {name: LatencyReport.from_json(report) for name, report in kept.items()}, True
        runners = {
            name: stack.enter_context(open_runner(made.runtime, device, made.main, threads, made.emitted.ports))
            for name, made in artifacts.items()
        }
        reports = latency.measure(runners, device.name, progress=workshop.progress)
        store.put_json(key, {name: report.to_json() for name, report in reports.items()})
    return reports, False


def _plain(found: Evaluation) -> dict[str, Any]:
    predictions = None if found.predictions is None else found.predictions.tolist()
    return {
        "metrics": found.metrics,
        "samples": found.samples,
        "is_higher_better": found.is_higher_better,
        "predictions": predictions,
    }


def _evaluation(kept: Mapping[str, Any]) -> Evaluation:
    import numpy as np

    metrics = tuple((name, value) for name, value in kept["metrics"])
    predictions = None if kept["predictions"] is None else np.asarray(kept["predictions"])
    return Evaluation(metrics, kept["samples"], kept["is_higher_better"], predictions)
