"""Pruning in rounds: a part goes, what is left is trained on, and a round that costs too much is taken back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from ..recipe.training import Recover, Training
from .schedule import TrainingOptions

if TYPE_CHECKING:
    from torch import nn

    from ..ir.progress import Progress
    from ..recipe.datasets import Data
    from ..recipe.schema import Compress
    from .comparison import Standing
    from .objective import Objective
    from .result import TrainingResult

Curve = Literal["linear", "cubic"]
"""linear: each round takes as much. cubic: the first ones take most, when there is most to spare."""
Prune = Callable[["nn.Module", float], str]
"""Takes that part of the whole amount from the module, in place, and tells what was reached."""


class Trainer(Protocol):
    """Trains and judges between rounds."""

    def train(self, module: nn.Module, options: TrainingOptions, what: str) -> TrainingResult:
        """The module is trained, in place and in eval mode; `what` tells this training from the others."""
        ...

    def judge(self, module: nn.Module) -> Standing:
        """How the module, in eval mode, stands on the samples that are held out of training."""
        ...


@dataclass(frozen=True)
class Rounds:
    """How an amount is reached: in `steps` rounds along a curve, with training after each but the last.

    `most_loss` is what one round may cost, its training included: then the last one trains, too, and each is judged.
    """

    steps: int = 1
    schedule: Curve = "linear"
    recover: TrainingOptions | None = None
    most_loss: float | None = None

    @property
    def reads_train(self) -> bool:
        """Whether the train split is read."""
        return self.most_loss is not None or (self.recover is not None and self.steps > 1)

    @property
    def parts(self) -> tuple[float, ...]:
        """The part of the amount that is gone after each round; the last is the whole.

        cubic: 1 - (1 - t)^3 (Zhu and Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, equation 1).
        """
        power = 3 if self.schedule == "cubic" else 1
        return tuple(1 - (1 - number / self.steps) ** power for number in range(1, self.steps + 1))

    def trains_after(self, number: int) -> bool:
        """Whether the network is trained after the round of that number; what follows pruning trains it after all."""
        return self.recover is not None and (number < self.steps or self.most_loss is not None)


def recovery(compress: Compress, epochs: float) -> TrainingOptions | None:
    """The recipe's way of training a compressed network, for so many epochs; None where there are none."""
    if not epochs:
        return None
    asked = compress.recover or compress.distill or Recover()
    options = asked.model_dump(include=set(Training.model_fields))
    return TrainingOptions(**{**options, "epochs": epochs})


def in_rounds(
    module: nn.Module, rounds: Rounds, prune: Prune, trainer: Trainer, say: Callable[[str], None], progress: Progress
) -> tuple[nn.Module, int]:
    """The module, which is pruned in place, or a copy from before the round that cost too much; and rounds that held.

    A round that costs more than `most_loss` is taken back and ends the pruning. What it costs is what top-1 falls by,
    in points, or, where a task has no classes, by how many percent the loss rises; on samples held out of training.
    """
    limit = rounds.most_loss
    stands = None if limit is None else trainer.judge(module)
    with progress.task("pruning", rounds.steps) as advance:
        for number, part in enumerate(rounds.parts, 1):
            before = module if limit is None else copy.deepcopy(module)
            reached = prune(module, part)
            if rounds.recover is not None and rounds.trains_after(number):
                result = trainer.train(module, rounds.recover, f"recover after step {number} of {rounds.steps}")
                say(f"training after step {number}: loss {result.loss_before:.4g} -> {result.loss_after:.4g}")
            if limit is not None and stands is not None:
                now = trainer.judge(module)
                cost, told = _cost(stands, now)
                if not cost <= limit:
                    taken_back = f"step {number} of {rounds.steps} ({reached}) is taken back: {told}, allowed {limit:g}"
                    say(taken_back)
                    progress.warn(f"{taken_back}; pruning ends with what the steps before it took")
                    return before, number - 1
                say(f"step {number} of {rounds.steps} ({reached}) is kept: {told}, allowed {limit:g}")
                stands = now
            advance(1, reached)
    return module, rounds.steps


@dataclass(frozen=True)
class LoopTrainer:
    """Trains by the shared loop, with a scratch folder for each training; the zeros of `masked` parameters hold."""

    data: Data
    task: str
    seed: int
    scratch: Path
    progress: Progress
    name: str
    masked: Sequence[str] = ()

    def train(
        self, module: nn.Module, options: TrainingOptions, what: str, objective: Objective | None = None
    ) -> TrainingResult:
        """See Trainer; by the task's own loss or by the objective."""
        from .loop import train

        scratch = self.scratch / what.replace(" ", "-")
        scratch.mkdir(parents=True, exist_ok=True)
        return train(
            module,
            self.data,
            self.task,
            options,
            seed=self.seed,
            scratch=scratch,
            progress=self.progress,
            name=f"{self.name}: {what}",
            objective=objective,
            masked=self.masked,
        )

    def judge(self, module: nn.Module) -> Standing:
        """See Trainer."""
        from accelerate.accelerator import Accelerator

        from .comparison import standing
        from .held_out import parts_of

        _, held_out = parts_of(self.data.split("train"), self.seed)
        return standing(module.eval(), held_out, self.task, self.seed, Accelerator().device)


def _cost(before: Standing, after: Standing) -> tuple[float, str]:
    """What lies between two standings: points of top-1, or percent of the loss; and the same in words."""
    if before.top1 is not None and after.top1 is not None:
        points = 100 * (before.top1 - after.top1)
        return points, f"held-out top-1 {before.top1:.2%} -> {after.top1:.2%}, {points:.2f} points lost"
    old, new = before.loss or 0.0, after.loss or 0.0
    percent = 100 * (new - old) / old if old else float("inf") if new > old else 0.0
    return percent, f"held-out loss {old:.4g} -> {new:.4g}, {percent:.1f} percent more"
