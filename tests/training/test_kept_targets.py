"""Targets that are kept: the same as asked anew, never another sample's, and only where samples stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from edgewright.recipe.datasets import Batch, Split
from edgewright.training import kept_targets
from edgewright.training.kept_targets import KeptTargets, digests_of, is_steady, keep
from torch import Tensor

IMAGES = torch.randn(150, 3, 4, generator=torch.Generator().manual_seed(0))


class Asked:
    """A teacher that counts how many samples it was asked about."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, batch: Batch) -> Tensor:
        self.count += len(batch.labels)
        return batch.inputs[0].sum(2)


class Shifted:
    """Images that are shifted anew whenever they are read, one in three of them."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return IMAGES[index] + (torch.rand(()) if index % 3 == 0 else 0), 0


@pytest.fixture
def split(make_data: Any) -> Split:
    found: Split = make_data(train=(IMAGES, torch.zeros(150, dtype=torch.int64))).split("train")
    return found


def test_kept_targets_are_those_that_the_teacher_gave(split: Split, listener: Any, tmp_path: Path) -> None:
    kept = keep(split, Asked(), tmp_path / "kept", listener, "distill")
    assert isinstance(kept, KeptTargets)
    places = [7, 149, 64, 0]
    (batch,) = split.subset(places).batches(4)
    assert torch.equal(kept.of(batch, places), IMAGES[places].sum(2))
    assert listener.units == {"distill: the teacher's outputs": 150}


def test_they_are_computed_once(split: Split, listener: Any, tmp_path: Path) -> None:
    first, again = Asked(), Asked()
    keep(split, first, tmp_path / "kept", listener, "distill")
    keep(split, again, tmp_path / "kept", listener, "distill")
    assert (first.count, again.count) == (151, 0)  # one sample is asked for first, to know the shape


def test_what_was_cut_short_is_not_taken_for_whole(split: Split, listener: Any, tmp_path: Path) -> None:
    class Cut(Asked):
        def __call__(self, batch: Batch) -> Tensor:
            if self.count > 64:
                raise KeyboardInterrupt
            return super().__call__(batch)

    with pytest.raises(KeyboardInterrupt):
        keep(split, Cut(), tmp_path / "kept", listener, "distill")
    assert not (tmp_path / "kept").exists()
    kept = keep(split, Asked(), tmp_path / "kept", listener, "distill")
    assert isinstance(kept, KeptTargets)
    (batch,) = split.subset([149]).batches(1)
    assert torch.equal(kept.of(batch, [149]), IMAGES[[149]].sum(2))


def test_another_sample_in_the_place_is_not_answered(split: Split, listener: Any, tmp_path: Path) -> None:
    kept = keep(split, Asked(), tmp_path / "kept", listener, "distill")
    assert isinstance(kept, KeptTargets)
    (batch,) = split.subset([3, 5]).batches(2)
    assert kept.of(batch, [3, 5]) is not None
    assert kept.of(batch, [3, 6]) is None
    changed = Batch((batch.inputs[0] + torch.finfo(torch.float32).eps,), batch.labels)
    assert kept.of(changed, [3, 5]) is None


def test_samples_that_are_drawn_anew_are_not_kept(make_data: Any, listener: Any, tmp_path: Path) -> None:
    split = make_data(train=Shifted()).split("train")
    assert not is_steady(split)
    assert keep(split, Asked(), tmp_path / "kept", listener, "distill") == "samples are drawn anew each time"
    assert not (tmp_path / "kept").exists()


def test_samples_that_stay_are_steady(split: Split, make_data: Any) -> None:
    assert is_steady(split)
    assert is_steady(make_data(train=(IMAGES[:3], torch.zeros(3, dtype=torch.int64))).split("train"))


def test_too_many_bytes_are_not_kept(
    split: Split, listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_targets, "MOST_BYTES", 150 * 3 * 4)
    assert isinstance(keep(split, Asked(), tmp_path / "fits", listener, "distill"), KeptTargets)
    monkeypatch.setattr(kept_targets, "MOST_BYTES", 150 * 3 * 4 - 1)
    assert "they would take more than" in str(keep(split, Asked(), tmp_path / "kept", listener, "distill"))


def test_hashes_tell_samples_apart_by_every_input() -> None:
    first, second = torch.zeros(2, 3), torch.tensor([[1], [2]])
    one, two = digests_of(Batch((first, second), torch.zeros(2)))
    assert one.tobytes() != two.tobytes()
    assert digests_of(Batch((first, second), torch.ones(2)))[0].tobytes() == one.tobytes()  # labels do not count
