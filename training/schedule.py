"""How long a training run is, how it is cut up, and how fast each of its steps learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

SEGMENT_STEPS = 100
"""Steps between two checkpoints, at most."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. `epochs` may be a fraction; `warmup` is the part of all steps with a rising learning rate."""

    epochs: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    warmup: float = 0.05
    patience: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The steps of a run: how many there are, where segments and epochs end, how fast each learns."""

    samples: int
    options: TrainingOptions

    @property
    def batch_size(self) -> int:
        """Samples in a step."""
        return min(self.options.batch_size, self.samples)

    @property
    def steps_per_epoch(self) -> int:
        """A last batch of one sample is left out: batch norm can't take a variance from it."""
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (rest > 1)

    @property
    def steps(self) -> int:
        """Steps of the whole run, at least one."""
        return max(1, round(self.options.epochs * self.steps_per_epoch))

    def segment_end(self, step: int) -> int:
        """The step before which the segment that begins at `step` ends."""
        epoch_end = step - step % self.steps_per_epoch + self.steps_per_epoch
        return min(step + SEGMENT_STEPS, epoch_end, self.steps)

    def ends_epoch(self, step: int) -> bool:
        """Whether the weights are judged after `step` steps."""
        return step % self.steps_per_epoch == 0 or step == self.steps

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
        warmup = round(self.options.warmup * self.steps)
        if step < warmup:
            return self.options.learning_rate * (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
