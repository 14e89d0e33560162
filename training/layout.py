"""How images lie in memory while a network trains: on a CPU, convolutions compute faster with channels last."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def lay_channels_last(module: nn.Module, inputs: Callable[[], Sequence[Tensor]]) -> None:
    """The module's convolutions of images have channels-last weights, if it trains so on `inputs`, a few samples.

    What follows a convolution takes its layout over, as PyTorch's documentation of memory formats says. A network that
    takes views across channels (`x.view(len(x), -1)`) can't, and stays as it was. Values are the same in either layout.
    """
    import torch

    trial = copy.deepcopy(module).train()
    if not _laid(trial, torch.channels_last):
        return
    try:
        with torch.no_grad():
            trial(*inputs())
    except Exception:  # whatever a user's network raises; where the layout is not to blame, training will say it
        return
    _laid(module, torch.channels_last)


def lay_contiguous(module: nn.Module) -> None:
    """The module's convolutions have weights (out, in, height, width) in that order in memory, as modules are made."""
    import torch

    _laid(module, torch.contiguous_format)


def _laid(module: nn.Module, layout: object) -> bool:
    """Whether there are convolutions of images; their weights lie as `layout` says."""
    import torch

    convolutions = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    for part in convolutions:
        part.to(memory_format=layout)  # type: ignore[call-overload]
    return bool(convolutions)
