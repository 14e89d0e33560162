"""Weights that are zero and stay zero while they are trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Masks:
    """The zeros of some of a network's parameters, as they were when this was made."""

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        parameters = [module.get_parameter(name) for name in names]
        self._held: list[tuple[Tensor, Tensor]] = [(entry, entry.detach() != 0) for entry in parameters]

    def apply(self) -> None:
        """What was zero is zero again, whatever an optimizer's step, its momentum or its weight decay made of it."""
        import torch

        with torch.no_grad():
            for parameter, is_free in self._held:
                parameter.mul_(is_free)
