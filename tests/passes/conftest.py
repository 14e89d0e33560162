"""Running passes as a build runs them: through the manager, which checks what each declares."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes import manager
from edgewright.passes.contract import Context, Pass
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
