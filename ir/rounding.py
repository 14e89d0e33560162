"""Weights whose rounding was decided while they were floats: they lie on their grid, and rounding leaves them there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from .state import ModelState

ATTACHMENT = "learned_rounding"
"""The axis that counts output channels in each such weight, by its name; its scales are in "weight_scales"."""


def lies_on_grid(weight: Tensor, scales: Tensor, axis: int) -> bool:
    """Whether every weight is, to the bit, a whole number times the scale of its channel, of which (C,) are given."""
    import torch

    along = scales.reshape([-1 if index == axis else 1 for index in range(weight.dim())])
    return torch.equal((weight / along).round() * along, weight)


def has_learned_rounding(state: ModelState) -> bool:
    """Whether rounding was learned, and the weights that are still floats lie on their grids."""
    import torch

    axes = state.attachments.get(ATTACHMENT, {})
    scales = state.attachments.get("weight_scales", {})
    tensors = state.program.state_dict if state.program is not None else {}
    return bool(axes) and all(
        lies_on_grid(tensors[name].detach(), torch.tensor(scales[name]), axis)
        for name, axis in axes.items()
        if name in tensors
    )
