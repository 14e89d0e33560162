"""What is held out: one sample in ten, by the seed alone, and never trained on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from edgewright.ir.errors import InputError
from edgewright.recipe.datasets import Split
from edgewright.training.held_out import parts_of


def values(split: Split) -> list[float]:
    return [float(value) for batch in split.batches(64) for value in batch.inputs[0].flatten()]


def numbers(make_data: Any, count: int) -> Split:
    data = make_data(train=(torch.arange(float(count)).reshape(-1, 1), torch.zeros(count, dtype=torch.int64)))
    split: Split = data.split("train")
    return split


def test_the_parts_are_the_whole_and_have_nothing_in_common(make_data: Any) -> None:
    training, held_out = (values(part) for part in parts_of(numbers(make_data, 95), seed=3))
    assert len(held_out) == 9
    assert sorted(training + held_out) == list(range(95))


def test_the_seed_decides_which(make_data: Any) -> None:
    first, again, other = (values(parts_of(numbers(make_data, 95), seed)[1]) for seed in (0, 0, 1))
    assert first == again != other


def test_at_most_two_thousand_are_held_out(make_data: Any) -> None:
    assert len(parts_of(numbers(make_data, 30_000), 0)[1]) == 2000


def test_too_few_are_refused(make_data: Any) -> None:
    with pytest.raises(InputError, match="data: split 'train': expected at least 10 samples, got 9"):
        parts_of(numbers(make_data, 9), 0)
