"""What the builds of one recipe share: the store, the data, and states that are made at most once."""

from __future__ import annotations

import json
import random
import time
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks import accuracy
from ..ir import sharing
from ..ir.errors import EdgewrightError, StepError
from ..ir.state import ModelState, load, save
from ..passes import manager
from ..passes.contract import Context, Measures, ReadsNetworks
from ..recipe import fingerprints, source
from ..recipe.datasets import Data, load_data
from ..runtimes import BatchRange, Coverage, Emitted, Limit, ModelNotes, Port, Ports, TensorNotes, emitter
from . import keys
from .keys import digest
from .measuring import measure_for, place_of
from .store import Store, compressed_size, sha256_of, storage_error

if TYPE_CHECKING:
    from torch import Tensor

    from ..devices.contract import Device
    from ..ir.progress import Progress
    from ..passes.contract import Measure
    from ..passes.manager import Plan, PlannedStep
    from ..recipe.other_networks import OtherNetwork
    from ..recipe.schema import Recipe
    from ..targets import Target

PROBE_SAMPLES = 4
"""How many calibration samples a pass's declared numerics are checked on."""


@dataclass(frozen=True)
class StepReport:
    """What became of one step: `seconds` is 0 where its result was in the cache."""

    text: str
    seconds: float
    cached: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """An emitted artifact in the store, and how it came to be. `key` stands for everything that went into it."""

    key: str
    plan: Plan
    runtime: str
    folder: Path
    emitted: Emitted
    steps: tuple[StepReport, ...]
    output_steps: tuple[float | None, ...]
    cached: bool
    compressed_bytes: int
    """What the files that the runtime loads take when each is compressed, as a download often is."""
    entropy_coded: tuple[int, int] | None = None
    """What weights that share values take as floats, and entropy coded, in bytes; None where there are none."""

    @property
    def main(self) -> Path:
        """The file that the runtime loads."""
        return self.folder / self.emitted.main

    @property
    def content(self) -> str:
        """What the artifact is, whatever it was made from: the hash of its files' hashes."""
        return digest({file: sha256_of(self.folder / file) for file in self.emitted.files})


class Workshop:
    """Makes states and artifacts of one recipe, each found in the store where it was made before."""

    def __init__(self, recipe: Recipe, store: Store, progress: Progress, device: Device | None = None) -> None:
        """`device` is where passes may measure what they make; without one they don't."""
        self.recipe = recipe
        self.device = device
        self.store = store
        self.progress = progress
        self.inputs = source.input_specs(recipe)
        self._data_prints: dict[str, str] = {}

    @cached_property
    def data(self) -> Data:
        """The recipe's data, loaded when it is first needed."""
        return load_data(self.recipe)

    @cached_property
    def model_print(self) -> str:
        """The fingerprint of the network and its weights."""
        return fingerprints.model_fingerprint(self.recipe, self.store.stamps)

    @cached_property
    def notes(self) -> ModelNotes:
        """What the recipe's artifacts say of themselves; nothing of inputs and outputs where it says nothing of any."""
        about, given = self.recipe.about, self.recipe.model.batch
        told = {spec.name: about.inputs.get(spec.name) for spec in self.inputs}
        inputs = [TensorNotes() if note is None else TensorNotes(**note.model_dump()) for note in told.values()]
        return ModelNotes(
            **about.model_dump(exclude={"labels", "inputs"}),
            inputs=tuple(inputs) if about.inputs else (),
            outputs=(TensorNotes(labels=about.labels),) if about.labels else (),
            batch=BatchRange() if given is None else BatchRange(given.min, given.best, given.max),
        )

    def data_print(self, split: str) -> str:
        """The fingerprint of one split of the data."""
        if split not in self._data_prints:
            self._data_prints[split] = fingerprints.data_fingerprint(self.recipe, split, self.store.stamps)
        return self._data_prints[split]

    def step_keys(self, plan: Plan) -> tuple[str, ...]:
        """The key before the first step, and the key after each."""
        chain = [keys.digest("model", self.model_print, [asdict(spec) for spec in self.inputs])]
        for planned in plan.steps:
            read = {split: self.data_print(split) for split in sorted(planned.step.reads)}
            if isinstance(planned.step, ReadsNetworks):
                read |= {str(other): self._network_print(other) for other in planned.step.networks}
            if isinstance(planned.step, Measures) and planned.step.measures and self.device is not None:
                read["device"] = keys.digest(plan.target, self.recipe.threads, place_of(self.device))
            chain.append(keys.step_key(planned.step, chain[-1], read, self.recipe.task, self.recipe.seed))
        return tuple(chain)

    def _network_print(self, other: OtherNetwork) -> str:
        return other.fingerprint(self.recipe, self.store.stamps)

    def make(self, plan: Plan, target: Target, heading: str = "") -> Made:
        """The plan's artifact for the target, from the store or made now. StepError where a step fails.

        `heading` stands before what is noted of the work.
        """
        emits = emitter(target.runtime)
        chain, notes = self.step_keys(plan), self.notes
        key = keys.emit_key(emits, target, chain[-1], notes)
        with self.store.lock(key):
            folder = self.store.find("artifacts", key)
            if folder is not None:
                reports = tuple(StepReport(step.text, 0.0, True) for step in plan.steps)
                return _read_made(key, plan, emits.name, folder, reports, True)
            state, reports = self.state(plan, heading, target)
            if missing := plan.goal - state.facts:
                raise StepError(f"{emits.name}: the plan's goal '{', '.join(map(str, missing))}' was not reached")
            self.progress.note(f"{heading}emit {emits.name}")
            folder = self.store.put(
                "artifacts", key, lambda out: _write_made(out, emits.emit(state, target, out, notes), state)
            )
        return _read_made(key, plan, emits.name, folder, reports, False)

    def state(
        self, plan: Plan, heading: str = "", target: Target | None = None
    ) -> tuple[ModelState, tuple[StepReport, ...]]:
        """The state after the plan's last step, resumed from the last finished one, and a report for each step.

        Passes measure what they make as it is for `target`, where one is given.
        """
        chain = self.step_keys(plan)
        done = next((index for index in range(len(plan.steps), 0, -1) if self._is_kept(chain[index])), 0)
        reports = [StepReport(step.text, 0.0, True) for step in plan.steps[:done]]
        state = self._load(chain[done]) if done else self._initial(chain[0])
        for planned, key in zip(plan.steps[done:], chain[done + 1 :], strict=True):
            state, report = self._step(planned, state, key, heading, target)
            reports.append(report)
        return state, tuple(reports)

    def seconds(self, plan: Plan) -> float | None:
        """How long the plan's steps took when they were run, in this build or an earlier one; None where unknown.

        Of a step that was resumed after a kill, the last run counts.
        """
        kept = [self.store.find_json(_seconds_key(key)) for key in self.step_keys(plan)[1:]]
        return None if None in kept else sum(float(each["seconds"]) for each in kept if each is not None)

    def _is_kept(self, key: str) -> bool:
        return self.store.find("steps", key) is not None

    def _load(self, key: str) -> ModelState:
        return load(self.store.root / "steps" / key, lambda: source.build_model(self.recipe))

    def _initial(self, key: str) -> ModelState:
        return ModelState(inputs=self.inputs, module=source.load_model(self.recipe), sha256=key)

    def _step(
        self, planned: PlannedStep, state: ModelState, key: str, heading: str, target: Target | None
    ) -> tuple[ModelState, StepReport]:
        with self.store.lock(key):
            if self._is_kept(key):
                return self._load(key), StepReport(planned.text, 0.0, True)
            self.progress.note(f"{heading}{planned.step.name}")
            started = time.monotonic()
            after = self._run(planned, state, key, target)
            self.store.put("steps", key, lambda folder: save(after, folder))
            seconds = time.monotonic() - started
            self.store.put_json(_seconds_key(key), {"seconds": seconds})
            return after, StepReport(planned.text, seconds, False, after.history[-1].notes)

    def _run(self, planned: PlannedStep, state: ModelState, key: str, target: Target | None) -> ModelState:
        import numpy as np
        import torch

        random.seed(self.recipe.seed)
        np.random.seed(self.recipe.seed)
        torch.manual_seed(self.recipe.seed)
        context = Context(
            data=self.data,
            task=self.recipe.task,
            seed=self.recipe.seed,
            scratch=self.store.scratch(key),
            say=lambda message: None,
            progress=self.progress,
            measure=None if target is None else self._measure(target),
            score=self._score,
            original=lambda: source.load_model(self.recipe),
            other=lambda network: network.load(self.recipe),
        )
        try:
            after = manager.run(planned.step, state, context, self._probe())
        except EdgewrightError:
            raise
        except OSError as error:
            raise storage_error(error, self.store.root) from error
        except Exception as error:  # whatever torch or the user's network raises fails this step, and no other target
            raise StepError(f"{planned.step.name}: {type(error).__name__}: {error}") from error
        return replace(after, sha256=key)

    def _measure(self, target: Target) -> Measure | None:
        measure = measure_for(target, self.device, self.recipe.threads or target.threads)
        if measure is None:
            return None

        def alone(state: ModelState) -> float:
            with self.store.lock("measuring"):
                return measure(state)

        return alone

    def _score(self, outputs: Tensor, labels: Tensor) -> float:
        task = accuracy.task(self.recipe.task, self.recipe.folder, str(self.recipe.path))
        metric = next(iter(task.metrics.values()))
        found = metric(task.answer(outputs.numpy()), labels.numpy())
        return float(found) if task.is_higher_better else -float(found)

    def _probe(self) -> tuple[Tensor, ...]:
        size = self.inputs[0].batch or PROBE_SAMPLES
        return next(iter(self.data.split("calibration").batches(size, limit=size))).filled(size)


def _seconds_key(step: str) -> str:
    return digest("seconds", step)


def _write_made(folder: Path, emitted: Emitted, state: ModelState) -> None:
    document: dict[str, Any] = {
        "emitted": asdict(emitted),
        "notes": [record.notes for record in state.history],
        "output_steps": state.attachments.get("quantization", {}).get("output_steps", []),
        "entropy_coded": state.attachments.get(sharing.ATTACHMENT, {}).get("bytes"),
        "compressed_bytes": sum(compressed_size(folder / name) for name in emitted.loaded),
    }
    (folder / "made.json").write_text(json.dumps(document))


def _read_made(key: str, plan: Plan, runtime: str, folder: Path, steps: tuple[StepReport, ...], cached: bool) -> Made:
    document = json.loads((folder / "made.json").read_text())
    fields = document["emitted"]
    coverage = {
        **fields["coverage"],
        "left": tuple((layer, why) for layer, why in fields["coverage"]["left"]),
        "float_operators": tuple((name, count) for name, count in fields["coverage"]["float_operators"]),
    }
    ports = {side: tuple(Port(**port) for port in fields["ports"][side]) for side in ("inputs", "outputs")}
    whole = {
        "files": tuple(fields["files"]),
        "remarks": tuple(fields["remarks"]),
        "limits": tuple(Limit(**limit) for limit in fields["limits"]),
    }
    emitted = Emitted(**{**fields, **whole, "coverage": Coverage(**coverage), "ports": Ports(**ports)})
    noted = tuple(replace(step, notes=tuple(notes)) for step, notes in zip(steps, document["notes"], strict=True))
    steps_of_outputs, compressed = tuple(document["output_steps"]), int(document["compressed_bytes"])
    coded = tuple(document["entropy_coded"]) if document["entropy_coded"] else None
    return Made(key, plan, runtime, folder, emitted, noted, steps_of_outputs, cached, compressed, coded)
