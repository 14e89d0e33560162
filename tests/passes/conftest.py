"""Running passes as a build runs them: through the manager, which checks what each declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.contract import Context, Pass
from edgewright.pipeline.planning import plan
from edgewright.recipe.schema import Recipe
from edgewright.targets import load_target
from torch import Tensor, nn

IMAGES = (InputSpec("image", (None, 3, 16, 16)),)


def probe_of(specs: tuple[InputSpec, ...]) -> tuple[Tensor, ...]:
    """Random samples for each input: three, or as many as its fixed batch takes."""
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(spec.batch or 3, *spec.sample_shape, generator=generator) for spec in specs)


@pytest.fixture
def carry_out(make_context: Callable[..., Context]) -> Callable[..., ModelState]:
    """carry_out(module, *passes, specs=..., context=...): the state after the passes, each checked on random samples.

    Instead of a module it may be given a state.
    """

    def run(
        start: nn.Module | ModelState,
        *passes: Pass,
        specs: tuple[InputSpec, ...] = IMAGES,
        context: Context | None = None,
    ) -> ModelState:
        state = start if isinstance(start, ModelState) else ModelState(specs, start.eval())
        for step in passes:
            state = manager.run(step, state, context or make_context(), probe_of(state.inputs))
        return state

    return run


@pytest.fixture
def built(
    make_recipe: Callable[..., Recipe], make_context: Callable[..., Context], carry_out: Callable[..., ModelState]
) -> Callable[..., ModelState]:
    """built(network, last="", target="x86-avx2", given=images, **quantize): the state that a plan's steps make.

    Those after `last` are left out. `given` (N, ...) are the calibration samples, or random images of (3, 16, 16).
    """

    def run(
        network: nn.Module,
        last: str = "",
        target: str = "x86-avx2",
        given: Tensor | None = None,
        labels: Tensor | None = None,
        **quantize: Any,
    ) -> ModelState:
        recipe = make_recipe(compress={"quantize": {"calibration": {"samples": 64}, **quantize}})
        steps = [planned.step for planned in plan(recipe, load_target(target)).steps]
        names = [step.name for step in steps]
        if given is None:
            given = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        context = replace(
            make_context(calibration=(given, torch.arange(len(given)) % 10 if labels is None else labels)), score=_top1
        )
        specs = (InputSpec("image", (None, *given.shape[1:])),)
        chosen = steps[: names.index(last) + 1] if last else steps
        return carry_out(network, *chosen, specs=specs, context=context)

    return run


def _top1(outputs: Tensor, labels: Tensor) -> float:
    return float((outputs.argmax(1) == labels).float().mean())
