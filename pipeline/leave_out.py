"""A recipe without each of the things that it asks for, in turn, and what can't be left out alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.errors import PlanError

if TYPE_CHECKING:
    from ..passes.manager import Plan
    from ..recipe.schema import Recipe

Planner = Callable[["Recipe"], "Plan"]


@dataclass(frozen=True)
class Variant:
    """The recipe without what stands at one of its keys: the passes that the key asks for, and those that went along.

    `same` says why nothing is to be learned from it; then there is nothing to build.
    """

    key: str
    passes: tuple[str, ...]
    goes_too: tuple[str, ...]
    plan: Plan | None
    same: str = ""

    @property
    def name(self) -> str:
        """What is left out, as tables have it."""
        return " and ".join(self.passes)


@dataclass(frozen=True)
class Bound:
    """A pass that is not in a plan for itself, and what it is there for."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def without(recipe: Recipe, key: str) -> Recipe:
    """The recipe as if it said nothing at the key, one of those that passes are asked by ("compress.prune")."""
    _, part, *rest = key.split(".")
    compress = recipe.compress
    if not rest:
        return recipe.model_copy(update={"compress": compress.model_copy(update={part: None})})
    asked = getattr(compress, part)
    (name,) = rest
    changed = asked.model_copy(update={name: type(asked).model_fields[name].get_default()})
    return recipe.model_copy(update={"compress": compress.model_copy(update={part: changed})})


def variants(recipe: Recipe, whole: Plan, plan: Planner) -> tuple[Variant, ...]:
    """One for each key that asks for a pass of the whole plan, in the plan's order; each planned anew."""
    keys = dict.fromkeys(step.step.asks for step in whole.steps if step.step.asks is not None)
    return tuple(_variant(recipe, key, whole, plan) for key in keys)


def bound(whole: Plan) -> tuple[Bound, ...]:
    """The passes that only others' needs bring in."""
    return tuple(
        Bound(step.step.name, "; ".join(reason for reason in step.because if " needs " in reason))
        for step in whole.steps
        if step.step.asks is None
    )


def _variant(recipe: Recipe, key: str, whole: Plan, plan: Planner) -> Variant:
    passes = tuple(step.step.name for step in whole.steps if step.step.asks == key)
    try:
        planned = plan(without(recipe, key))
    except PlanError as error:
        return Variant(key, passes, (), None, f"it can't be left out alone: {error}")
    left = {step.step.name for step in planned.steps}
    gone = [step.step.name for step in whole.steps if step.step.name not in left]
    if [step.text for step in planned.steps] == [step.text for step in whole.steps]:
        return Variant(key, passes, (), None, "the plan is the same without it")
    return Variant(key, passes, tuple(name for name in gone if name not in passes), planned)
