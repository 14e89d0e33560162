"""Samples with and without labels as one split: each comes with its own input, in the order that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from edgewright.recipe.datasets import Data
from edgewright.training.mixed import Mixed
from torch import Tensor

IMAGES = torch.arange(10.0).reshape(10, 1)


class Inputs:
    """Six samples without labels, as a user gives them."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        return 100 + IMAGES[index]


@pytest.fixture
def mixed(make_data: Callable[..., Data]) -> Callable[..., Mixed]:
    """mixed(labels): four samples with the labels, and six without any."""

    def make(labels: Tensor, task: str = "classification") -> Mixed:
        data: Any = make_data(task, train=(IMAGES[:4], labels), unlabelled=(IMAGES[4:], torch.full((6,), 9)))
        return Mixed(data.split("train"), data.split("unlabelled"))

    return make


def seen(split: Mixed, size: int, **options: Any) -> tuple[list[float], list[Any]]:
    batches = list(split.batches(size, **options))
    assert all(len(batch.labels) <= size for batch in batches)
    inputs = torch.cat([batch.inputs[0] for batch in batches]).flatten().tolist()
    return inputs, torch.cat([batch.labels for batch in batches]).tolist()


@pytest.mark.parametrize("size", [1, 3, 10])
def test_those_with_labels_come_first_and_the_others_have_zeros(size: int, mixed: Any) -> None:
    split = mixed(torch.tensor([5, 6, 7, 8]))
    assert len(split) == 10
    assert seen(split, size) == (list(range(10)), [5, 6, 7, 8, 0, 0, 0, 0, 0, 0])


def test_any_order_and_any_part_can_be_read(mixed: Any) -> None:
    split = mixed(torch.tensor([5, 6, 7, 8])).subset([9, 0, 4, 3, 1])
    assert seen(split, 5) == ([9, 0, 4, 3, 1], [0, 5, 0, 8, 6])
    assert seen(split.subset([2, 0]), 2) == ([4, 9], [0, 0])
    assert seen(split, 2, limit=3) == ([9, 0, 4], [0, 5, 0])
    shuffled, _ = seen(split, 2, order_seed=1)
    assert sorted(shuffled) == sorted([9, 0, 4, 3, 1])
    assert shuffled != [9, 0, 4, 3, 1]


def test_labels_of_several_numbers_have_as_many_zeros(mixed: Any) -> None:
    split = mixed(torch.ones(4, 3), "multilabel")
    (batch,) = split.subset([5, 2]).batches(2)
    assert batch.labels.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_inputs_alone_are_samples(make_data: Callable[..., Data]) -> None:
    class Wrapped(Inputs):
        """As torch's TensorDataset of one tensor gives them."""

        def __getitem__(self, index: int) -> Any:
            return (super().__getitem__(index),)

    class Specified:
        """A dataset of pairs, of which the fixture takes the specs."""

        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            return 100 + IMAGES[index], "no number at all"

    split: Any = make_data(unlabelled=Specified()).split("unlabelled")
    for dataset in (Specified(), Inputs(), Wrapped()):
        split.dataset = dataset
        (batch,) = split.batches(6)
        assert batch.inputs[0].flatten().tolist() == [100, 101, 102, 103, 104, 105]
        assert batch.labels.tolist() == [0] * 6
