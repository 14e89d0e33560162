"""Plans of a recipe: what the emitter of the target's runtime needs, and the recipe without compression as baseline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..devices.machine import host_target
from ..ir.errors import InputError, Problem
from ..passes import ALL, manager
from ..runtimes import emitter
from ..targets import load_target, own_names

if TYPE_CHECKING:
    from ..passes.manager import Plan
    from ..recipe.schema import Recipe
    from ..targets import Target


def resolve(name: str, recipe: Recipe | None = None) -> Target:
    """The profile of that name or path; `host` is the one that fits this machine.

    What the recipe names is looked for from its folder; what was typed from the working folder, and a name that is
    not there from the recipe's.
    """
    if name == "host":
        return host_target()
    is_path = os.sep in name or name.endswith((".yaml", ".yml"))
    is_typed = recipe is None or name not in recipe.targets
    if recipe is None or (is_typed and (is_path or name in own_names())):
        return load_target(name)
    return load_target(name, recipe.folder)


def targets_of(recipe: Recipe, names: Sequence[str] = ()) -> tuple[Target, ...]:
    """The profiles that were named, or else those that the recipe names, each once.

    InputError with every problem of all of them, or where two that differ have one name, and so one folder.
    """
    found: dict[str, Target] = {}
    problems: list[Problem | str] = []
    for name in names or recipe.targets:
        try:
            target = resolve(name, recipe)
        except InputError as error:
            problems += error.problems
            continue
        if found.setdefault(target.name, target) != target:
            problems.append(
                Problem("target", name, "profiles of different names", f"another one called '{target.name}'")
            )
    if problems:
        raise InputError(problems)
    return tuple(found.values())


def plan(recipe: Recipe, target: Target) -> Plan:
    """What a build for the target does, in order, with reasons and skips. Needs no torch. PlanError, InputError."""
    runtime = emitter(target.runtime)
    first = {name: given.shape[0] for name, given in recipe.model.inputs.items()}
    batches = {name: size if isinstance(size, int) else None for name, size in first.items()}
    if refusals := runtime.refusals(batches):
        raise InputError([f"{recipe.path}: {target.name}: {refusal}" for refusal in refusals])
    return manager.plan(recipe, target, ALL, runtime.name, runtime.needs)


def baseline_plan(recipe: Recipe, target: Target) -> Plan:
    """The plan of the same network, uncompressed, for the same runtime: what every artifact is compared with."""
    uncompressed = recipe.model_copy(update={"compress": type(recipe.compress)()})
    return plan(uncompressed, target)
