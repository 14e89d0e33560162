"""`explain`: an artifact is built again without each pass in turn, and every one is measured beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..benchmarks import accuracy
from ..benchmarks.accuracy import Evaluation, flips
from ..benchmarks.change import Change, change
from ..benchmarks.compare import compare
from ..devices import machine, registry
from ..ir.errors import EdgewrightError, InputError, Problem
from ..runtimes import emitter
from ..ship import manifest
from .build import require_runtime
from .explanation import BuiltRow, Explanation, Worth
from .judge import evaluated, measured, timed
from .keys import digest, own_source
from .leave_out import Variant, bound, variants
from .origin import Origin, recall
from .parity import prove
from .planning import baseline_plan, plan
from .workshop import Workshop

if TYPE_CHECKING:
    from ..benchmarks.latency import LatencyReport
    from ..devices.contract import Device
    from ..ir.progress import Progress
    from ..passes.manager import Plan
    from ..ship.manifest import Manifest
    from .store import Store
    from .workshop import Made

BASELINE, ARTIFACT = "float baseline", "artifact"
CHANGED = (
    "the artifact is not what its recipe, data and this version of edgewright now make;"
    " what is explained is what they make now"
)


@dataclass(frozen=True)
class _Finished:
    """An artifact that computes what was simulated, and what it answers."""

    made: Made
    evaluation: Evaluation
    seconds: float | None


def explain(artifact: Path, origin: Origin | None, store: Store, device: Device, progress: Progress) -> Explanation:
    """What each pass of the artifact cost and gained; the artifact's folder is left as it is.

    `origin` is the recipe and the profile where the store does not remember them. Steps that a build did are found
    in the store. A variant that fails is told of, and the others go on. InputError, StepError where the artifact
    itself can't be built.
    """
    registry.refuse_emulated(device, "explain")
    found = manifest.read(artifact)
    known = origin or recall(store, found.build)
    if known is None:
        expected = "the recipe that it was built from, which this cache does not remember; give it with --recipe"
        raise InputError(Problem(str(artifact), "", expected, f"build {found.build[:12]}"))
    return _Explainer(known, found, Workshop(known.recipe, store, progress, device), device).explained()


class _Explainer:
    """Builds and measures all variants of one artifact."""

    def __init__(self, origin: Origin, found: Manifest, workshop: Workshop, device: Device) -> None:
        self.recipe, self.target = origin.recipe, origin.target
        self.found, self.workshop, self.device = found, workshop, device
        unlike = machine.mismatches(self.target, machine.this_machine())
        self.unlike = unlike
        self.doubted = () if emitter(self.target.runtime).is_portable else unlike

    def explained(self) -> Explanation:
        require_runtime(self.target)
        whole = plan(self.recipe, self.target)
        finished = {
            BASELINE: self._finished(baseline_plan(self.recipe, self.target), f"{BASELINE}: "),
            ARTIFACT: self._finished(whole, ""),
        }
        worths: list[tuple[Variant, Worth]] = []
        for variant in variants(self.recipe, whole, lambda recipe: plan(recipe, self.target)):
            made, worth = self._left_out(variant)
            worths.append((variant, worth))
            if made is not None:
                finished[_title(variant)] = made
        reports = self._timed({name: each.made for name, each in finished.items()})
        rows = {name: self._row(name, each, finished[BASELINE], reports.get(name)) for name, each in finished.items()}
        return Explanation(
            target=self.target.name,
            baseline=rows[BASELINE],
            artifact=rows[ARTIFACT],
            worths=tuple(self._compared(worth, rows[ARTIFACT], rows.get(_title(variant))) for variant, worth in worths),
            bound=bound(whole),
            skips=whole.skips,
            notes=self._notes(),
            changed="" if finished[ARTIFACT].made.key == self.found.build else CHANGED,
        )

    def _finished(self, planned: Plan, heading: str) -> _Finished:
        made = self.workshop.make(planned, self.target, heading)
        prove(self.workshop, made, self.device, self.doubted, heading.rstrip(": ") or ARTIFACT)
        return _Finished(made, evaluated(self.workshop, made, self.device)[0], self.workshop.seconds(planned))

    def _left_out(self, variant: Variant) -> tuple[_Finished | None, Worth]:
        worth = Worth(variant.key, variant.passes, variant.goes_too, why_not=variant.same)
        if variant.plan is None:
            return None, worth
        try:
            return self._finished(variant.plan, f"{_title(variant)}: "), worth
        except EdgewrightError as error:
            return None, replace(worth, why_not=str(error), is_failed=True)

    def _timed(self, artifacts: Mapping[str, Made]) -> Mapping[str, LatencyReport]:
        """Reports of one session; artifacts whose files are the same share one."""
        if emitter(self.target.runtime).reference() is not None:
            return {}
        names: dict[str, str] = {}
        for name, made in artifacts.items():
            names.setdefault(made.content, name)
        distinct = {name: artifacts[name] for name in names.values()}
        reports, _ = timed(self.workshop, distinct, self.device, self.found.threads)
        return {name: reports[names[made.content]] for name, made in artifacts.items()}

    def _row(self, name: str, each: _Finished, baseline: _Finished, report: LatencyReport | None) -> BuiltRow:
        steps = tuple(step.text for step in each.made.plan.steps)
        flipped = None if name == BASELINE else flips(baseline.evaluation, each.evaluation)
        return BuiltRow(name, measured(each.made, each.evaluation, report), flipped, each.seconds, steps)

    def _compared(self, worth: Worth, artifact: BuiltRow, other: BuiltRow | None) -> Worth:
        if other is None:
            return worth
        before, after = other.measured, artifact.measured
        speed = compare(before.latency, after.latency) if before.latency and after.latency else None
        return replace(worth, without=other, speed=speed, accuracy=self._change(before.evaluation, after.evaluation))

    def _change(self, before: Evaluation, after: Evaluation) -> Change | None:
        """None where the task keeps no predictions of single samples."""
        import numpy as np

        if before.predictions is None or after.predictions is None:
            return None
        task = accuracy.task(self.recipe.task, self.recipe.folder, str(self.recipe.path))
        metric, labels = task.metrics[after.metric], np.asarray(self._labels())
        return change(metric, before.predictions, after.predictions, labels, is_higher_better=after.is_higher_better)

    def _labels(self) -> Sequence[float]:
        """The labels of the evaluation split, kept so that its samples are read once."""
        store, key = self.workshop.store, digest("labels", self.workshop.data_print("evaluation"), own_source())
        kept = store.find_json(key)
        if kept is None:
            batches = self.workshop.data.split("evaluation").batches(accuracy.BATCH)
            kept = {"labels": [label for batch in batches for label in batch.labels.tolist()]}
            store.put_json(key, kept)
        labels: Sequence[float] = kept["labels"]
        return labels

    def _notes(self) -> tuple[str, ...]:
        reference = emitter(self.target.runtime).reference()
        if reference is not None:
            return (f"accuracy is that of {reference.said}, a reference runtime; latency was not measured",)
        if not self.unlike:
            return ()
        return (f"measured on this machine, which is not {self.target.name}: {'; '.join(self.unlike)}",)


def _title(variant: Variant) -> str:
    return f"without {variant.name}"
