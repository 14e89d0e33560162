"""What training may be made to pay for channels, so that those that matter little shrink before they go.

Both are differentiable sums over all units of the groups, on the device of the network's parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .groups import ChannelGroup
from .importance import per_unit, scales_of, squares_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_LEAST = 1e-12
"""Keeps the slope of a square root finite where a unit is zero."""


def slimming(module: nn.Module, groups: Sequence[ChannelGroup]) -> Tensor:
    """The sum of the sizes of the batch-norm scales on the groups' channels, each scale once.

    Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", arXiv:1708.06519, equation 1.
    """
    import torch

    scales = {member.module: scale for group in groups for member, scale in scales_of(module, group)}
    return torch.stack([scale.abs().sum() for scale in scales.values()]).sum()


def group_lasso(module: nn.Module, groups: Sequence[ChannelGroup]) -> Tensor:
    """The sum of the Euclidean norms of all that goes with each unit: of what makes it, scales it and reads it.

    Wen et al. 2016, "Learning Structured Sparsity in Deep Neural Networks", arXiv:1608.03665, equation 1, over the
    groups of tied parameters of DepGraph (Fang et al. 2023, arXiv:2301.12900, section 3.3).
    """
    import torch

    return torch.stack([(_squares(module, group) + _LEAST).sqrt().sum() for group in groups]).sum()


def _squares(module: nn.Module, group: ChannelGroup) -> Tensor:
    """(units): the sum of squares of all that goes with each."""
    import torch

    return torch.stack([per_unit(squares, member) for member, squares in squares_of(module, group)]).sum(0)


def has_scales(module: nn.Module, groups: Sequence[ChannelGroup]) -> bool:
    """Whether there are batch norms on any channels of the groups."""
    return any(scales_of(module, group) for group in groups)
