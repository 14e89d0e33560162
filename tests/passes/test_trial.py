"""A trial quantization: what it says of a state, by hand and beside the build's own, and that it leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.calibrate import Calibrate
from edgewright.passes.export import Export
from edgewright.passes.fold_batchnorm import FoldBatchnorm
from edgewright.passes.insert_quantization import InsertQuantization
from edgewright.passes.trial import Trial, is_better, sqnr
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target

SPECS = (InputSpec("image", (None, 3, 16, 16)),)


def test_sqnr_by_hand() -> None:
    wanted, found = [torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])]
    assert sqnr(wanted, found) == pytest.approx(20)
    assert sqnr(wanted, wanted) == math.inf
    assert sqnr(wanted, [torch.tensor([math.nan, 4.0])]) == -math.inf


def test_a_repair_has_to_gain_something() -> None:
    assert is_better(20.2, 20.0)
    assert not is_better(20.05, 20.0)
    assert not is_better(-math.inf, -math.inf)
    assert not is_better(math.inf, math.inf)
    assert is_better(1.0, -math.inf)


def test_it_tells_what_the_build_would_make(
    networks: ModuleType,
    carry_out: Callable[..., ModelState],
    make_context: Any,
    make_recipe: Callable[..., Recipe],
) -> None:
    images = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    context = make_context(calibration=(images, torch.zeros(64, dtype=torch.int64)))
    recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}}})
    target = load_target("x86-avx2")
    calibrate, insert = Calibrate.for_target(target, recipe), InsertQuantization.for_target(target, recipe)
    assert calibrate is not None
    assert isinstance(insert, InsertQuantization)
    state = carry_out(networks.random(networks.Residual), Export(), FoldBatchnorm(), specs=SPECS, context=context)
    trial = Trial.of(state, context, calibrate, insert)
    told, history = trial.decibels(state), state.history
    built = carry_out(state, calibrate, insert, context=context)
    with torch.no_grad():
        wanted, found = state.callable_module()(images), built.callable_module()(images)
    assert told == pytest.approx(sqnr([wanted], [found]), abs=0.01)
    assert state.history == history
    assert "ranges" not in state.attachments
