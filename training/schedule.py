"""How long a training run is, how it is cut up, and how fast each of its steps learns."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]
SEGMENT_STEPS = 100
"""Steps between two checkpoints, at most."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. `epochs` may be a fraction; `warmup` is the part of all steps with a rising learning rate.

    `patience` is how many epochs in a row may pass without a better held-out loss (None: all epochs are run), `minutes`
    how long the run may take, whatever its epochs. `average` is the decay of a moving average of the weights, which
    is then what is judged and kept (0: the weights themselves are). The samples of a step go through the network in
    `parts`, which takes less memory and learns the same, batch statistics aside. `precision` is that of the
    network's layers while it trains; its weights stay in float32. In several `processes` each takes a part of every
    step's samples.
    """

    epochs: float
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    warmup: float = 0.05
    patience: int | None = None
    schedule: Literal["cosine", "one-cycle", "constant"] = "cosine"
    average: float = 0.0
    parts: int = 1
    minutes: float | None = None
    precision: Precision = "float32"
    processes: int = 1


def options_of(step: TrainingOptions) -> TrainingOptions:
    """The options alone of a pass that has them among its fields."""
    return TrainingOptions(**{entry.name: getattr(step, entry.name) for entry in fields(TrainingOptions)})


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
        """That of a step: up to the options' rate while warming up, then down; constant stays there.

        cosine: a line up, half a cosine down to zero (Loshchilov and Hutter 2017, arXiv:1608.03983). one-cycle: half a
        cosine up from a 25th, another down to a 10,000th of that (Smith and Topin 2018, arXiv:1708.07120, with the
        numbers of torch's OneCycleLR).
        """
        highest, warmup = self.options.learning_rate, round(self.options.warmup * self.steps)
        if self.options.schedule == "one-cycle":
            return _one_cycle(highest, step, self.options.warmup * self.steps - 1, self.steps - 1)
        if step < warmup:
            return highest * (step + 1) / (warmup + 1)
        if self.options.schedule == "constant":
            return highest
        return _between(highest, 0.0, (step - warmup) / max(1, self.steps - warmup))


def pieces(count: int, parts: int) -> list[slice]:
    """So many samples cut into parts that are equal but for one, each of two samples at least unless there is one."""
    parts = max(1, min(parts, count // 2))
    ends = [count * number // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _one_cycle(highest: float, step: int, top: float, last: int) -> float:
    """The rate of a step where the highest is reached at step `top`, which may lie between two steps."""
    first = highest / 25
    if top > 0 and step <= top:
        return _between(first, highest, step / top)
    top = max(top, 0.0)
    return _between(highest, first / 1e4, (step - top) / ((last - top) or 1.0))


def _between(start: float, end: float, done: float) -> float:
    """Half a cosine from start to end, of which the part `done` is behind."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
