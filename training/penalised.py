"""Training that pays for something beside its loss, as for the size of what is to be pruned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .objective import Network, Objective
from .schedule import TrainingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..recipe.datasets import Batch


@dataclass(frozen=True)
class Regularization:
    """How strongly a penalty counts beside the loss, and how the network is trained with it."""

    strength: float
    training: TrainingOptions


@dataclass(frozen=True)
class Penalised:
    """An objective and `strength` times a penalty; weights are judged by the penalty alone, which they are to shrink.

    Judged by the loss, too, the weights of a network that was trained would stay as they are: at first all training
    makes it a little worse on samples that it knew. `penalty` looks at the network that is trained, as it is when it is
    asked; `what` names it.
    """

    objective: Objective
    penalty: Callable[[], Tensor]
    strength: float
    what: str

    @property
    def identity(self) -> str:
        """See Objective."""
        return f"{self.objective.identity}+{self.strength}*{self.what}"

    @property
    def helpers(self) -> Sequence[nn.Module]:
        """See Objective."""
        return self.objective.helpers

    def start(self, device: object) -> None:
        """See Objective; the penalty reads what lies on the device anyway."""
        self.objective.start(device)

    def loss(self, network: Network, batch: Batch, samples: Sequence[int]) -> Tensor:
        """See Objective."""
        return self.objective.loss(network, batch, samples) + self.strength * self.penalty()

    def judge(self, network: Network, batch: Batch) -> Tensor:
        """See Objective: the same for every batch."""
        return self.penalty()
