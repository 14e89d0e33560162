"""Leaving out: one variant for each thing asked for, planned anew, and a reason where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edgewright.ir.errors import PlanError
from edgewright.passes.manager import Plan
from edgewright.pipeline.leave_out import Variant, bound, variants, without
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.targets import Target

EVERYTHING = {"prune": {"flops": 0.5}, "recover": {}, "quantize": {"mode": "qat", "train": {"epochs": 1}}}


@pytest.fixture
def left_out(make_recipe: Callable[..., Recipe], target: Target) -> Callable[..., dict[str, Variant]]:
    """left_out(compress): the variants by their keys, with the real planner or another."""

    def run(compress: dict[str, Any], planner: Callable[[Recipe], Plan] | None = None) -> dict[str, Variant]:
        recipe = make_recipe(compress=compress)
        found = variants(recipe, plan(recipe, target), planner or (lambda changed: plan(changed, target)))
        return {variant.key: variant for variant in found}

    return run


def names(variant: Variant) -> list[str]:
    assert variant.plan is not None
    return [step.step.name for step in variant.plan.steps]


def test_each_key_goes_in_turn_and_the_rest_is_planned_anew(left_out: Any) -> None:
    found = left_out(EVERYTHING)
    assert list(found) == ["compress.prune", "compress.recover", "compress.quantize.mode", "compress.quantize"]
    behind = ["export", "fold-batchnorm", "calibrate", "train-quantized", "insert-quantization"]
    assert names(found["compress.prune"]) == ["recover", *behind]
    assert names(found["compress.recover"]) == ["prune-channels", *behind]
    assert names(found["compress.quantize"]) == ["prune-channels", "recover", "export"]
    assert found["compress.quantize"].goes_too == ("fold-batchnorm", "calibrate", "train-quantized")
    assert found["compress.prune"].goes_too == ()


def test_training_for_quantization_goes_alone_and_calibration_stays(left_out: Any) -> None:
    variant = left_out(EVERYTHING)["compress.quantize.mode"]
    assert (variant.name, variant.goes_too) == ("train-quantized", ())
    assert names(variant)[-2:] == ["calibrate", "insert-quantization"]


def test_what_needs_bring_in_is_bound_and_says_by_whom(make_recipe: Any, target: Target) -> None:
    found = {each.name: each.why for each in bound(plan(make_recipe(compress=EVERYTHING), target))}
    assert set(found) == {"export", "fold-batchnorm", "calibrate"}
    assert found["calibrate"] == (
        "insert-quantization needs 'ranges calibrated'; train-quantized needs 'ranges calibrated'"
    )


def test_a_plan_that_is_illegal_without_it_is_said(left_out: Any) -> None:
    def refuse(recipe: Recipe) -> Plan:
        raise PlanError("prune-channels needs 'recovered'")

    variant = left_out({"recover": {}}, refuse)["compress.recover"]
    assert variant.plan is None
    assert variant.same == "it can't be left out alone: prune-channels needs 'recovered'"


def test_a_plan_that_is_the_same_without_it_is_said(left_out: Any, make_recipe: Any, target: Target) -> None:
    same = plan(make_recipe(compress={"recover": {}}), target)
    variant = left_out({"recover": {}}, lambda recipe: same)["compress.recover"]
    assert (variant.plan, variant.same) == (None, "the plan is the same without it")


def test_nothing_else_of_the_recipe_changes(make_recipe: Any) -> None:
    recipe = make_recipe(compress=EVERYTHING)
    pruned = without(recipe, "compress.prune")
    assert pruned.compress.prune is None
    assert pruned.compress.recover == recipe.compress.recover
    static = without(recipe, "compress.quantize.mode").compress.quantize
    assert static.mode is None
    assert static.calibration == recipe.compress.quantize.calibration
    assert recipe.compress.prune is not None
