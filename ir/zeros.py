"""Weights that were pruned one by one: which tensors have such zeros, and whether a model still does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .sparsity import sparse_weights, stored_as

if TYPE_CHECKING:
    from torch import Tensor

    from .state import ModelState

ATTACHMENT = "pruned_elements"
"""How many weights are zero in each parameter that was pruned, by its name."""


def held_weights(state: ModelState) -> tuple[str, ...]:
    """The parameters of a module whose zeros stay zeros while it is trained, of whatever pattern they are."""
    return tuple(sorted({*sparse_weights(state), *state.attachments.get(ATTACHMENT, {})}))


def pruned_weights(state: ModelState) -> Mapping[str, Tensor]:
    """The parameters that were pruned, as they are stored now, floats or integers, by the names that they had then.

    In a graph, a layer's weights may have been folded into others, which are in their place.
    """
    counts = state.attachments.get(ATTACHMENT, {})
    if state.module is not None:
        return {name: state.module.get_parameter(name) for name in counts}
    return stored_as(state.exported_program(), counts)


def has_pruned_elements(state: ModelState) -> bool:
    """Whether weights were pruned, and wherever they can still be told apart as many are zero now as then."""
    counts = state.attachments.get(ATTACHMENT, {})
    return bool(counts) and all(
        int((weight == 0).sum()) >= counts[name] for name, weight in pruned_weights(state).items()
    )
