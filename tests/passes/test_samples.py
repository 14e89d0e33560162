"""Batches of calibration samples: whole where the network asks for it, and never none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.ir.state import InputSpec, ModelState
from edgewright.passes.contract import Context
from edgewright.passes.samples import calibration_batches
from torch import nn


def sizes(make_context: Callable[..., Context], batch: int | None, count: int) -> list[int]:
    """How many samples are in each batch for a network with this batch, of so many samples."""
    context = make_context(calibration=(torch.zeros(count, 3), torch.zeros(count, dtype=torch.long)))
    state = ModelState((InputSpec("x", (batch, 3)),), nn.Linear(3, 2).eval())
    return [len(found.labels) for found in calibration_batches(state, context)]


@pytest.mark.parametrize(
    ("batch", "count", "expected"),
    [
        (None, 40, [32, 8]),
        (None, 300, [32] * 8),
        (16, 40, [16, 16]),
        (300, 310, [300]),
    ],
)
def test_batches_are_whole_where_the_network_takes_no_others(
    batch: int | None, count: int, expected: list[int], make_context: Callable[..., Context]
) -> None:
    assert sizes(make_context, batch, count) == expected


def test_fewer_than_one_batch_are_refused(make_context: Callable[..., Context]) -> None:
    with pytest.raises(InputError, match=r"split 'calibration': expected at least 16 samples, .*, got 15"):
        sizes(make_context, 16, 15)
