"""The part of what is trained on that judges weights and is never learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.errors import InputError, Problem
from .seeds import mix

if TYPE_CHECKING:
    from ..recipe.datasets import Split

HELD_OUT_PART, HELD_OUT_MOST = 10, 2000
"""One sample in ten of a split, at most two thousand, judges the weights and is not trained on."""


def parts_of(split: Split, seed: int) -> tuple[Split, Split]:
    """The samples to train on, and those held out. InputError where there are too few."""
    import torch

    held_out = min(HELD_OUT_MOST, len(split) // HELD_OUT_PART)
    if held_out == 0:
        where, expected = f"data: split '{split.name}'", f"at least {HELD_OUT_PART} samples"
        raise InputError(Problem(where, "", expected, f"{len(split)}"))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(mix(seed, -1))).tolist()
    return split.subset(sorted(order[held_out:])), split.subset(sorted(order[:held_out]))
