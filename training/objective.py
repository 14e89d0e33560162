"""What a run minimises, and by what its weights are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from .losses import Loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..recipe.datasets import Batch

Network = Callable[..., "Tensor"]
"""From a batch's inputs to the first output of the network that is trained, in float32."""


def moved(batch: Batch, device: Any, piece: slice = slice(None)) -> Batch:
    """The samples of the piece, on the device."""
    inputs = tuple(tensor[piece].to(device, non_blocking=True) for tensor in batch.inputs)
    return replace(batch, inputs=inputs, labels=batch.labels[piece].to(device, non_blocking=True))


class Objective(Protocol):
    """The loss of a batch, a mean over its samples. Batches come on the device that `start` was told of."""

    @property
    def identity(self) -> str:
        """Text that differs where the objective would lead to other weights; empty for the task's own loss."""
        ...

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """Modules that learn beside the network and are no part of it, as an adapter between two widths."""
        ...

    def start(self, device: object) -> None:
        """What the objective holds lies on the device: before a run, and where it was before after one."""
        ...

    def loss(self, network: Network, batch: Batch, samples: Sequence[int]) -> Tensor:
        """What a step minimises. `samples` are the places of the batch's samples in what is trained on."""
        ...

    def judge(self, network: Network, batch: Batch) -> Tensor:
        """What the weights are judged by, on samples that are not trained on."""
        ...


@dataclass(frozen=True)
class HardLabels:
    """The task's own loss against the labels, for both."""

    task_loss: Loss
    identity: str = ""
    helpers: tuple[nn.Module, ...] = ()

    def start(self, device: object) -> None:
        """See Objective; there is nothing to move."""

    def loss(self, network: Network, batch: Batch, samples: Sequence[int]) -> Tensor:
        """See Objective."""
        return self.task_loss(network(*batch.inputs), batch.labels)

    def judge(self, network: Network, batch: Batch) -> Tensor:
        """See Objective."""
        return self.task_loss(network(*batch.inputs), batch.labels)
