"""Weights that share values: which tensors do, among how many values, and whether a model still has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .sparsity import stored_as

if TYPE_CHECKING:
    from torch import Tensor

    from .state import ModelState

ATTACHMENT = "shared_weights"
"""Of every stored tensor whose weights share values, by its name: how many values (`counts`); and whether these values
stay as they are while others are trained (`is_fixed`); and what they take as floats, and entropy coded (`bytes`)."""


def shared_counts(state: ModelState) -> Mapping[str, int]:
    """How many values the weights of each such tensor take at most, by the name that it had when it was made so."""
    counts: Mapping[str, int] = state.attachments.get(ATTACHMENT, {}).get("counts", {})
    return counts


def are_fixed(state: ModelState) -> bool:
    """Whether the values lie on a grid of their own, from which training would take them."""
    return bool(state.attachments.get(ATTACHMENT, {}).get("is_fixed"))


def shared_weights(state: ModelState) -> Mapping[str, Tensor]:
    """These tensors as they are stored now, floats or integers, by the names that they had then."""
    return stored_as(state.exported_program(), shared_counts(state))


def has_shared_weights(state: ModelState) -> bool:
    """Whether there are such tensors, and wherever they can still be told apart no more values than then."""
    import torch

    counts = shared_counts(state)
    if not counts or state.program is None:
        return False
    return all(len(torch.unique(weight)) <= counts[name] for name, weight in shared_weights(state).items())
