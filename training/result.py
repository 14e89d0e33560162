"""What a training run did, and how the history tells it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingResult:
    """What a run did; losses are means over the held-out samples, `loss_after` that of the weights that were kept.

    `best_epoch` is 0 where no epoch bettered the weights that the run began with.
    """

    loss_before: float
    loss_after: float
    epochs_run: float
    best_epoch: float
    stopped_early: bool
    out_of_time: bool = False

    def lines(self, of: str = "") -> tuple[str, ...]:
        """The result as the history has it; `of` says whose loss it is, where that is not plain."""
        losses = f"{self.loss_before:.4f} before, {self.loss_after:.4f} after"
        told = [f"{self.epochs_run:g} epochs; loss{of and f' of {of}'} on held-out training samples {losses}"]
        if self.best_epoch < self.epochs_run:
            told.append(f"kept the weights after epoch {self.best_epoch:g}: later ones did no better on them")
        if self.stopped_early:
            told.append("stopped early: patience ran out")
        if self.out_of_time:
            told.append("stopped when its minutes were over")
        return tuple(told)
