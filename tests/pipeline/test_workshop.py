"""The workshop: keys that change from where something changed, states made once, and steps that fail by name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from edgewright.devices.local import LocalDevice
from edgewright.ir.errors import InputError, StepError
from edgewright.ir.facts import RECOVERED
from edgewright.ir.state import ModelState
from edgewright.passes.contract import Context, Lossy
from edgewright.passes.manager import Plan, PlannedStep
from edgewright.pipeline.planning import plan
from edgewright.pipeline.store import Store
from edgewright.pipeline.workshop import Workshop
from edgewright.recipe.schema import load_recipe
from edgewright.recipe.source import load_model
from edgewright.runtimes import BatchRange
from edgewright.targets import Target

QUANTIZED_ONLY = ("compress.prune=null", "compress.recover=null")
Make = Callable[..., Workshop]


@pytest.fixture
def workshop(recipe_file: Path, tmp_path: Path, listener: Any) -> Make:
    """workshop(*overrides, cache=...): a workshop of the small recipe as its files now are."""

    def make(*overrides: str, cache: str = "cache") -> Workshop:
        return Workshop(load_recipe(recipe_file, overrides), Store(tmp_path / cache, listener), listener)

    return make


def names(planned: Plan) -> list[str]:
    return [each.step.name for each in planned.steps]


def first_change(before: Workshop, after: Workshop, target: Target) -> str:
    """The first step whose key differs; "model" where the network itself has another, "none" where all are equal."""
    planned = plan(before.recipe, target)
    pairs = zip(before.step_keys(planned), after.step_keys(plan(after.recipe, target)), strict=True)
    differs = [old != new for old, new in pairs]
    assert differs == sorted(differs), "what follows on a change has changed too"
    return ["model", *names(planned), "none"][len(differs) - sum(differs)]


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("compress.quantize.calibration.method=entropy", "calibrate"),
        ("compress.recover.epochs=2", "recover"),
        ("compress.prune.flops=0.3", "prune-channels"),
        ("task=multilabel", "prune-channels"),
        ("seed=1", "prune-channels"),
        ("budget.accuracy_drop_points=9.0", "none"),
        ("threads=2", "none"),
    ],
)
def test_keys_change_from_the_step_that_reads_what_changed(
    override: str, first: str, workshop: Make, target: Target
) -> None:
    assert first_change(workshop(), workshop(override), target) == first


def test_an_open_batchs_range_is_told_to_the_emitter(workshop: Make) -> None:
    inputs = "model.inputs={image: {shape: [batch, 1, 8, 8]}}"
    assert workshop(inputs).notes.batch == BatchRange(1, 1, 16)
    assert workshop(inputs, "model.batch={min: 2, best: 8, max: 32}").notes.batch == BatchRange(2, 8, 32)


@pytest.mark.parametrize(
    ("old", "new", "first"),
    [
        ("samples(256, 0)", "samples(256, 5)", "recover"),
        ("samples(128, 1)", "samples(128, 5)", "calibrate"),
        ("samples(300, 2)", "samples(300, 5)", "none"),
    ],
    ids=["train", "calibration", "evaluation"],
)
def test_a_changed_split_changes_the_keys_of_those_that_read_it(
    old: str, new: str, first: str, workshop: Make, target: Target, recipe_file: Path
) -> None:
    before = workshop()
    keys = before.step_keys(plan(before.recipe, target))
    file = recipe_file.parent / "data.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    after = workshop()
    differs = [one != other for one, other in zip(keys, after.step_keys(plan(after.recipe, target)), strict=True)]
    found = ["model", *names(plan(after.recipe, target)), "none"][len(differs) - sum(differs)]
    assert found == first


@pytest.mark.slow
def test_a_state_is_made_once_and_is_the_same_everywhere(workshop: Make, target: Target) -> None:
    first = workshop(*QUANTIZED_ONLY)
    planned = plan(first.recipe, target)
    made = first.make(planned, target)
    again = workshop(*QUANTIZED_ONLY).make(planned, target)
    elsewhere = workshop(*QUANTIZED_ONLY, cache="another").make(planned, target)
    assert [(step.cached, step.seconds > 0) for step in made.steps] == [(False, True)] * 4
    assert [(step.cached, step.seconds) for step in again.steps] == [(True, 0.0)] * 4
    assert (made.cached, again.cached, elsewhere.cached) == (False, True, False)
    assert made.content == again.content == elsewhere.content
    assert made.key == elsewhere.key
    assert [step.notes for step in again.steps] == [step.notes for step in made.steps]
    assert again.emitted == made.emitted
    assert made.main.is_file()


def test_a_state_goes_on_from_the_last_step_that_was_finished(workshop: Make, target: Target) -> None:
    planned = plan(workshop(*QUANTIZED_ONLY).recipe, target)
    assert names(planned) == ["export", "fold-batchnorm", "calibrate", "insert-quantization"]
    until = replace(planned, steps=planned.steps[:2])
    workshop(*QUANTIZED_ONLY).state(until)
    _, reports = workshop(*QUANTIZED_ONLY).state(planned)
    assert [report.cached for report in reports] == [True, True, False, False]


DISTILLED = ("compress.recover=null", "compress.prune=null", "compress.quantize=null")


def test_how_long_steps_took_is_known_while_they_are_kept(workshop: Make, target: Target) -> None:
    first = workshop(*QUANTIZED_ONLY)
    planned = plan(first.recipe, target)
    assert first.seconds(planned) is None
    _, reports = first.state(planned)
    again = workshop(*QUANTIZED_ONLY)
    assert again.seconds(planned) == pytest.approx(sum(report.seconds for report in reports))
    _, reports = again.state(planned)
    assert sum(report.seconds for report in reports) == 0


def test_a_changed_teacher_changes_the_key_of_distill(workshop: Make, target: Target, recipe_file: Path) -> None:
    def keys(teacher: str) -> tuple[str, ...]:
        made = workshop(*DISTILLED, f"compress.distill={{teacher: {teacher}}}")
        return made.step_keys(plan(made.recipe, target))

    file = recipe_file.parent / "teacher.py"
    file.write_text((recipe_file.parent / "model.py").read_text())
    before, original = keys("teacher.py:build"), keys("original")
    assert keys("teacher.py:build") == before
    file.write_text(file.read_text() + "\n# another\n")
    after = keys("teacher.py:build")
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, *[False] * (len(before) - 1)]
    assert keys("original") == original


def test_the_original_teaches_itself(workshop: Make, target: Target) -> None:
    """A student that is its teacher has nothing to learn from it, so that its first weights stay the best."""
    made = workshop(*DISTILLED, "compress.distill={epochs: 1, alpha: 1.0}")
    planned = plan(made.recipe, target)
    state, (report,) = made.state(replace(planned, steps=planned.steps[:1]))
    assert planned.steps[0].step.name == "distill"
    assert "loss on held-out training samples 0.0000 before" in " ".join(report.notes)
    start = load_model(made.recipe).state_dict()
    assert all(torch.equal(tensor, start[name]) for name, tensor in state.torch_module().state_dict().items())


def test_another_network_teaches_by_its_own_weights(workshop: Make, target: Target, recipe_file: Path) -> None:
    (recipe_file.parent / "teacher.py").write_text((recipe_file.parent / "model.py").read_text())
    made = workshop(*DISTILLED, "compress.distill={epochs: 1, alpha: 1.0, teacher: teacher.py:build}")
    planned = plan(made.recipe, target)
    _, (report,) = made.state(replace(planned, steps=planned.steps[:1]))
    assert report.notes[0].startswith("teacher teacher.py:build: ")
    (before,) = (float(note.split()[-4]) for note in report.notes if "before," in note)
    assert before > 0


@dataclass(frozen=True)
class Odd:
    """Does what the test wants done; its text says so, and it makes nothing but a fact."""

    what: str

    name: ClassVar[str] = "odd"
    needs: ClassVar[frozenset[Any]] = frozenset()
    makes: ClassVar[frozenset[Any]] = frozenset({RECOVERED})
    touches: ClassVar[frozenset[Any]] = frozenset()
    keeps: ClassVar[frozenset[Any]] = frozenset()
    numerics: ClassVar[Any] = Lossy("odd")
    asks: ClassVar[str | None] = None
    reads: ClassVar[frozenset[str]] = frozenset()
    decides: ClassVar[str] = ""

    def run(self, state: ModelState, context: Context) -> ModelState:
        if self.what == "runtime error":
            raise RuntimeError("a kernel failed")
        if self.what == "full disk":
            raise OSError(28, "No space left on device")
        if self.what == "input error":
            raise InputError("the input is wrong")
        context.say(f"{random.random()} {np.random.random()} {float(torch.rand(()))}")
        (context.scratch / "note").write_text("kept until the step is done")
        return state


def odd(what: str) -> Plan:
    step: Any = Odd(what)
    return Plan("x86-avx2", (PlannedStep(step, ()),), (), frozenset())


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("runtime error", StepError, "^odd: RuntimeError: a kernel failed$"),
        ("full disk", StepError, r"No space left on device\. Finished steps are kept"),
        ("input error", InputError, "^the input is wrong$"),
    ],
)
def test_a_step_that_fails_says_which_and_why(what: str, kind: type[Exception], message: str, workshop: Make) -> None:
    with pytest.raises(kind, match=message):
        workshop().state(odd(what))


def test_a_step_draws_the_same_random_numbers_every_time(workshop: Make) -> None:
    _, first = workshop().state(odd("draw"))
    torch.rand(3)
    _, second = workshop(cache="another").state(odd("draw"))
    _, other = workshop("seed=1", cache="third").state(odd("draw"))
    assert first[0].notes == second[0].notes
    assert first[0].notes != other[0].notes


def test_scratch_is_gone_once_the_step_is_done(workshop: Make, tmp_path: Path) -> None:
    workshop().state(odd("draw"))
    assert list((tmp_path / "cache" / "scratch").rglob("note")) == []


def test_a_goal_that_was_not_reached_is_an_error(workshop: Make, target: Target) -> None:
    whole = plan(workshop(*QUANTIZED_ONLY).recipe, target)
    short = replace(whole, steps=whole.steps[:-1])
    with pytest.raises(StepError, match="onnxruntime: the plan's goal 'quantized' was not reached"):
        workshop(*QUANTIZED_ONLY).make(short, target)


FIXED = """
from torch import nn


class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        return self.head(x.reshape(16, 64))


def build():
    return Fixed()
"""


def test_a_fixed_batch_larger_than_the_calibration_set_is_filled_up(
    workshop: Make, target: Target, recipe_file: Path
) -> None:
    (recipe_file.parent / "model.py").write_text(FIXED)
    data = recipe_file.parent / "data.py"
    data.write_text(data.read_text().replace("samples(128, 1)", "samples(5, 1)"))
    overrides = (*QUANTIZED_ONLY, "model.weights=null", "model.inputs.image.shape=[16, 1, 8, 8]")
    made = workshop(*overrides)
    state, _ = made.state(plan(made.recipe, target))
    assert state.attachments["ranges"]


def test_a_pass_that_measures_has_the_device_in_its_key_and_a_score(
    workshop: Make, target: Target, listener: Any
) -> None:
    without = workshop("compress.quantize.mixed.drop_points=50")
    planned = plan(without.recipe, target)
    whole = Workshop(without.recipe, without.store, listener, LocalDevice())
    own, measured = (
        dict(zip(["", *names(planned)], each.step_keys(planned), strict=True)) for each in (without, whole)
    )
    assert own["calibrate"] == measured["calibrate"]
    assert own["choose-precision"] != measured["choose-precision"]
    state, _ = whole.state(planned, target=target)
    (record,) = (each for each in state.history if each.step.startswith("choose-precision"))
    assert "points below float on" in record.notes[0]
