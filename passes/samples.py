"""Calibration samples in batches that a network takes, for passes that judge the network by them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem

if TYPE_CHECKING:
    from ..ir.state import ModelState
    from ..recipe.datasets import Batch
    from .contract import Context

_SAMPLES, _BATCH = 256, 32
"""How many samples are looked at, unless one batch takes more, and how many at a time where the batch is open."""


def calibration_batches(state: ModelState, context: Context, samples: int = _SAMPLES) -> Iterator[Batch]:
    """The first so many samples, in whole batches where the network's is fixed.

    InputError where there are too few for one.
    """
    size, split = state.inputs[0].batch, context.data.split("calibration")
    if size is not None and len(split) < size:
        expected = f"at least {size} samples, which one batch of the network takes"
        raise InputError(Problem("data: split 'calibration'", "", expected, f"{len(split)}"))
    batches = split.batches(size or _BATCH, limit=max(samples, size or 0))
    return (batch for batch in batches if size in (None, len(batch.labels)))
