"""Planning and running: the order of passes is derived from facts, replayed, and then only carried out.

No ordered list of passes stands anywhere. A plan works back from the goal to makers and their needs; whoever breaks
a fact runs before its maker, unless it needs that maker itself.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..ir.errors import PlanError, StepError
from ..ir.facts import Fact
from ..ir.state import ModelState, Record
from .contract import Close, Context, Exact, Pass, Remarks, Skip, breaks, facts_after
from .text import to_short_text, to_text

if TYPE_CHECKING:
    from ..recipe.schema import Recipe
    from ..targets import Target


@dataclass(frozen=True)
class PlannedStep:
    """One pass of a plan, why it is in it and stands where it stands, and what this target makes of it."""

    step: Pass
    because: tuple[str, ...]
    remark: str = ""

    @property
    def text(self) -> str:
        """The pass's text form."""
        return to_text(self.step)


@dataclass(frozen=True)
class Plan:
    """What a build for one target will do, in order, and what it will not do and why."""

    target: str
    steps: tuple[PlannedStep, ...]
    skips: tuple[Skip, ...]
    goal: frozenset[Fact]

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the target makes of single steps, where that has to be known."""
        return tuple(f"{step.step.name}: {step.remark}" for step in self.steps if step.remark)

    def to_json(self) -> dict[str, Any]:
        """The document of `plan --json`."""
        return {
            "schema": 1,
            "target": self.target,
            "steps": [
                {"pass": step.text, "because": list(step.because), **({"remark": step.remark} if step.remark else {})}
                for step in self.steps
            ],
            "skips": [{"what": skip.what, "why": skip.why} for skip in self.skips],
        }

    def to_text(self) -> str:
        """The plan as a person reads it; golden tests compare it."""
        lines = [f"plan for {self.target}"]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {to_short_text(step.step)}")
            lines.extend(f"     because {reason}" for reason in step.because)
            if step.step.decides:
                lines.append(f"     decided when built: {step.step.decides}")
            if step.remark:
                lines.append(f"     note: {step.remark}")
        lines.extend(f"skipped {skip.what}\n     because {skip.why}" for skip in self.skips)
        return "\n".join(lines) + "\n"


Makers = Mapping[Fact, Pass]


def plan(
    recipe: Recipe, target: Target, passes: Iterable[type[Pass]], emitter: str, emitter_needs: frozenset[Fact]
) -> Plan:
    """The passes that take the recipe's model to what `target` can have of it, in an order that replay accepts.

    `emitter` names who needs `emitter_needs`. Raises PlanError where a fact has no maker or two, where the order is
    a cycle, or where a fact of the goal would be undone.
    """
    candidates, skips = _for_target(recipe, target, passes)
    asked = {step: step.asks for step in candidates if step.asks is not None}
    goal = emitter_needs.union(*(step.makes for step in asked))
    makers = _makers(goal, candidates, target)
    reasons = _presence(makers, asked, emitter, emitter_needs)
    order = _order(makers, goal, reasons)
    replay(order, goal)
    steps = tuple(_planned(step, reasons[step], target) for step in order)
    return Plan(target.name, steps, tuple(sorted(skips, key=str)), goal)


def _planned(step: Pass, reasons: list[str], target: Target) -> PlannedStep:
    because = tuple(sorted(set(reasons), key=reasons.index))
    return PlannedStep(step, because, step.remark(target) if isinstance(step, Remarks) else "")


def replay(order: Iterable[Pass], goal: frozenset[Fact]) -> None:
    """Every need holds where it is needed and the goal at the end; PlanError otherwise. Independent of `_order`."""
    facts: frozenset[Fact] = frozenset()
    for step in order:
        if missing := step.needs - facts:
            raise PlanError(f"{step.name} needs '{_names(missing)}', which does not hold where it would run")
        facts = facts_after(step, facts)
    if missing := goal - facts:
        raise PlanError(f"the plan ends without '{_names(missing)}', which the recipe or the target asks for")


def run(step: Pass, state: ModelState, context: Context, probe: Any | None = None) -> ModelState:
    """The state after the pass, its declarations checked: needs before, `holds` and numerics after.

    `probe` is a tuple of input tensors; numerics are not checked without one. `history` gains the pass's text and
    what it said. Raises StepError where a declaration does not hold.
    """
    if missing := step.needs - state.facts:
        raise StepError(f"{step.name}: needs '{_names(missing)}', which does not hold")
    notes: list[str] = []
    context = replace(context, say=notes.append)
    before = _outputs(step, state, probe)
    after = step.run(state, context)
    record = Record(to_text(step), tuple(notes))
    after = replace(after, facts=facts_after(step, state.facts), history=(*state.history, record))
    for fact in sorted(after.facts, key=str):
        if fact.holds is not None and not fact.holds(after):
            does = "makes" if fact in step.makes else "leaves"
            raise StepError(f"{step.name}: says that it {does} '{fact}', but the model does not show it")
    _check_numerics(step, before, _outputs(step, after, probe))
    return after


def _for_target(recipe: Recipe, target: Target, passes: Iterable[type[Pass]]) -> tuple[list[Pass], list[Skip]]:
    candidates: list[Pass] = []
    skips: list[Skip] = []
    for kind in sorted(passes, key=lambda kind: kind.name):
        answer = kind.for_target(target, recipe)
        if isinstance(answer, Skip):
            skips.append(answer)
        elif answer is not None:
            candidates.append(answer)
    return candidates, skips


def _makers(goal: frozenset[Fact], candidates: list[Pass], target: Target) -> dict[Fact, Pass]:
    makers: dict[Fact, Pass] = {}
    missing = sorted(goal, key=str)
    while missing:
        fact = missing.pop()
        if fact in makers:
            continue
        able = [step for step in candidates if fact in step.makes]
        if len(able) != 1:
            found = ", ".join(step.name for step in able) or "none"
            raise PlanError(f"{target.name}: '{fact}' needs exactly one pass that makes it, found {found}")
        makers[fact] = able[0]
        missing.extend(sorted(able[0].needs, key=str))
    return makers


def _presence(
    makers: Makers, asked: Mapping[Pass, str | None], emitter: str, emitter_needs: frozenset[Fact]
) -> dict[Pass, list[str]]:
    reasons: dict[Pass, list[str]] = {step: [] for step in sorted(set(makers.values()), key=lambda step: step.name)}
    for step, because in reasons.items():
        if step in asked:
            because.append(f"the recipe asks for it: {asked[step]}")
        made = {fact for fact in step.makes if makers.get(fact) == step}
        because.extend(f"{emitter} needs '{fact}'" for fact in sorted(made & emitter_needs, key=str))
        for other in reasons:
            because.extend(f"{other.name} needs '{fact}'" for fact in sorted(made & other.needs, key=str))
    return reasons


def _order(makers: Makers, goal: frozenset[Fact], reasons: dict[Pass, list[str]]) -> list[Pass]:
    """The chosen passes in order; adds to `reasons` why each stands where it stands."""
    before: dict[Pass, set[Pass]] = {step: {makers[fact] for fact in step.needs} for step in reasons}
    rests = {step: _all_needed(step, makers) for step in reasons}
    for fact, maker in sorted(makers.items(), key=lambda entry: str(entry[0])):
        for breaker in reasons:
            if breaker == maker or not breaks(breaker, fact):
                continue
            if maker not in rests[breaker]:
                before[maker].add(breaker)
                reasons[breaker].append(f"before {maker.name}: it would end '{fact}'")
                continue
            if fact in goal:
                raise PlanError(
                    f"{breaker.name} ends '{fact}', which the goal asks for, and needs {maker.name}, which makes it"
                )
            for other in reasons:
                if fact in other.needs and other != breaker and breaker not in rests[other]:
                    before[breaker].add(other)
                    reasons[breaker].append(f"after {other.name}: that needs '{fact}', which this ends")
    return _sorted(before)


def _all_needed(step: Pass, makers: Makers) -> frozenset[Pass]:
    """The makers of everything that the pass needs, directly or through its needs."""
    found: set[Pass] = set()
    waiting = [makers[fact] for fact in step.needs]
    while waiting:
        maker = waiting.pop()
        if maker not in found:
            found.add(maker)
            waiting.extend(makers[fact] for fact in maker.needs)
    return frozenset(found)


def _sorted(before: Mapping[Pass, set[Pass]]) -> list[Pass]:
    sorter = graphlib.TopologicalSorter(before)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        names = " -> ".join(step.name for step in error.args[1])
        raise PlanError(f"these passes each have to run before the next, which cannot be: {names}") from None
    order: list[Pass] = []
    ready: list[Pass] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=lambda step: step.name)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _outputs(step: Pass, state: ModelState, probe: Any | None) -> list[Any]:
    """The output tensors on a copy of the probe, for networks may write into their inputs."""
    if probe is None or not isinstance(step.numerics, Exact | Close):
        return []
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        outputs = state.callable_module()(*(values.clone() for values in probe))
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _check_numerics(step: Pass, before: list[Any], after: list[Any]) -> None:
    allowed = step.numerics.relative if isinstance(step.numerics, Close) else 0.0
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        if new.shape != old.shape:
            raise StepError(f"{step.name}: output {index} was {tuple(old.shape)} and is now {tuple(new.shape)}")
        difference, largest = _moved(old, new)
        if not difference <= allowed * largest:
            raise StepError(
                f"{step.name}: declares {step.numerics}, but output {index} moved by {difference:.3g}"
                f" where the largest value is {largest:.3g}"
            )


def _moved(old: Any, new: Any) -> tuple[float, float]:
    """The largest difference, and the largest finite magnitude; NaN is NaN and infinity infinity (masked scores)."""
    import torch

    old, new = old.double(), new.double()
    is_same = (old == new) | (old.isnan() & new.isnan())
    nothing = torch.zeros(1, dtype=torch.float64)
    difference = torch.cat([nothing, (new - old)[~is_same].abs()]).max()
    return float(difference), float(torch.cat([nothing, old[old.isfinite()].abs()]).max())


def _names(facts: Iterable[Fact]) -> str:
    return "', '".join(sorted(fact.name for fact in facts))
