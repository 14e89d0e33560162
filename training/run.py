"""One training run between its checkpoints, in one process or as one of several."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..ir.errors import StepError
from .average import Average
from .checkpoint import Checkpoints, Position, Stored, Weights, weights_of
from .constraints import Constraints
from .layout import lay_channels_last, lay_contiguous
from .objective import Objective, moved
from .optimizer import optimizer_for
from .precision import MixedPrecision
from .processes import ALONE, Group
from .result import TrainingResult
from .schedule import Schedule, TrainingOptions, pieces
from .seeds import mix, seed_everything

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..ir.progress import Advance
    from ..recipe.datasets import Batch, Split

_JUDGED_AT_ONCE = 256
_TRIED = 2


class Run:
    """One training run between its checkpoints. Owns the module until `keep_best`."""

    def __init__(
        self,
        module: nn.Module,
        training: Split,
        held_out: Split,
        objective: Objective,
        options: TrainingOptions,
        seed: int,
        masked: Sequence[str],
        shared: Sequence[str] = (),
    ) -> None:
        from accelerate.accelerator import Accelerator

        self.training, self.held_out = training, held_out
        self.objective, self.options, self.seed = objective, options, seed
        self.schedule = Schedule(len(self.training), options)
        self.accelerator: Any = Accelerator()
        self.home = next(module.parameters()).device
        self.module: nn.Module
        if self.accelerator.device.type == "cpu":
            lay_channels_last(module, lambda: next(iter(training.batches(_TRIED, limit=_TRIED))).inputs)
        module.to(self.accelerator.device)  # accelerate moves no module that it has prepared for an earlier run
        prepare: Any = self.accelerator.prepare
        self.module, self.optimizer = prepare(module, optimizer_for(module, options, objective.helpers))
        self.constraints = Constraints(module, masked, shared)
        self.precision = MixedPrecision(options.precision, self.accelerator.device)
        self.group = ALONE
        objective.start(self.accelerator.device)
        self.average = Average(self.module, options.average) if options.average else None
        self.position = Position(math.inf, math.inf)
        self.best: Weights = {}

    def is_over(self, position: Position) -> bool:
        """Whether a run that stands there has ended."""
        return position.stopped_early or position.out_of_time or position.step >= self.schedule.steps

    @property
    def result(self) -> TrainingResult:
        position, epoch = self.position, self.schedule.steps_per_epoch
        return TrainingResult(
            loss_before=position.loss_before,
            loss_after=position.best_loss,
            epochs_run=position.step / epoch,
            best_epoch=position.best_step / epoch,
            stopped_early=position.stopped_early,
            out_of_time=position.out_of_time,
        )

    def to_the_end(
        self, stored: Stored | None, checkpoints: Checkpoints, advance: Advance, group: Group = ALONE
    ) -> None:
        """The run has ended, from where it was stored; in several processes each calls this, and one writes."""
        self.group = group
        self.start(stored)
        while not self.is_over(self.position):
            self.train_segment(advance)
            if group.is_first:
                checkpoints.save(self.position, weights_of(self.module), self.best, self.learning_state())

    def start(self, stored: Stored | None) -> None:
        """The run stands where a checkpoint left it, or before its first step."""
        if stored is not None:
            self.position, weights, self.best, state = stored
            self.module.load_state_dict(weights)
            self.optimizer.load_state_dict(state["optimizer"])
            for helper, values in zip(self.objective.helpers, state["helpers"], strict=True):
                helper.load_state_dict(values)
            self.precision.load(state["precision"])
            if self.average:
                self.average.load(state["average"])
            return
        self.best = weights_of(self.module)
        loss = self.held_out_loss()
        self.position = Position(loss_before=loss, best_loss=loss if math.isfinite(loss) else math.inf)

    def learning_state(self) -> dict[str, Any]:
        """What a run that goes on needs beside the network's weights."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "helpers": [helper.state_dict() for helper in self.objective.helpers],
            "average": self.average.values if self.average else {},
            "precision": self.precision.state(),
        }

    def train_segment(self, advance: Advance) -> None:
        """The steps up to the segment's end are taken, and the weights judged where an epoch or the time ends."""
        first, started = self.position.step, time.monotonic()
        before, most = self.position.seconds, 60 * (self.options.minutes or math.inf)
        end = self.schedule.segment_end(first)
        seed_everything(self.seed, first, self.group.rank)
        self.module.train()
        for step, (batch, own, count) in enumerate(self._batches(first, end), first):
            loss = self._step(batch, own, count, step)
            if not math.isfinite(loss):
                self._fail(f"the loss is {loss}", step)
            advance(1, f"loss {loss:.3f}, held out {self.position.best_loss:.3f}")
            is_late = before + time.monotonic() - started >= most
            if math.isfinite(most) and self.group.is_decided(is_late):
                end, self.position.out_of_time = step + 1, step + 1 < self.schedule.steps
                break
        self.position.step = end
        if self.schedule.ends_epoch(end) or self.position.out_of_time:
            self._judge()
        self.position.seconds = before + time.monotonic() - started

    def keep_best(self) -> None:
        """The module has the best weights, in eval mode, where it was before the run."""
        self.module.load_state_dict(self.best)
        self.constraints.apply()  # an average of equal weights may differ in its last bit
        lay_contiguous(self.module)
        self.module.to(self.home).eval()
        self.objective.start(self.home)
        for parameter in self.module.parameters():
            parameter.grad = None

    def held_out_loss(self) -> float:
        """Mean loss over the held-out samples; their augmentation, if any, is the same every time."""
        import torch

        seed_everything(self.seed, -1)
        self.module.eval()
        found = torch.zeros(-(-len(self.held_out) // _JUDGED_AT_ONCE), dtype=torch.float64)
        with torch.no_grad():
            for number, batch in enumerate(self.held_out.batches(_JUDGED_AT_ONCE)):
                if number % self.group.size == self.group.rank:  # all read everything, so that all draw the same
                    loss = self.objective.judge(self._outputs, moved(batch, self.accelerator.device))
                    found[number] = float(loss) * len(batch.labels)
        self.group.add_up([found])
        return float(found.sum()) / len(self.held_out)

    def _batches(self, first: int, end: int) -> Iterator[tuple[Batch | None, Sequence[int], int]]:
        """For each step: this process's part of its samples (None: none), their places, and how many all have."""
        indices, size, rank = self._indices(first, end), self.schedule.batch_size, self.group.rank
        steps = [indices[start : start + size] for start in range(0, len(indices), size)]
        cuts = [pieces(len(chosen), self.group.size) for chosen in steps]
        parts = [chosen[cut[rank]] if rank < len(cut) else [] for chosen, cut in zip(steps, cuts, strict=True)]
        mine, done = self.training.subset([index for own in parts for index in own]), 0
        for own, chosen in zip(parts, steps, strict=True):
            places = range(done, done + len(own))
            batch = next(iter(mine.subset(places).batches(len(own)))) if own else None
            yield batch, own, len(chosen)
            done += len(own)

    def _step(self, batch: Batch | None, samples: Sequence[int], count: int, step: int) -> float:
        """The weights learned from a step of so many samples; its loss. `samples` are those of this process."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step)
        total = 0.0 if batch is None else self._gradients(batch, samples, count)
        modules = [self.module, *self.objective.helpers]
        total = self.group.join(
            [entry for module in modules for entry in module.parameters()],
            [entry for module in modules for entry in module.buffers()],
            total,
        )
        self.constraints.gather()
        self.precision.step(self.optimizer)
        self.constraints.apply()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(step)
        return total

    def _gradients(self, batch: Batch, samples: Sequence[int], count: int) -> float:
        """The part that these samples have of the loss of so many; its gradients are in the parameters."""
        total = 0.0
        for piece in pieces(len(samples), self.options.parts):
            part = moved(batch, self.accelerator.device, piece)
            loss = self.objective.loss(self._outputs, part, samples[piece]) * (len(part.labels) / count)
            self.accelerator.backward(self.precision.scaled(loss))
            total += float(loss.detach())
        return total

    def _outputs(self, *inputs: Tensor) -> Tensor:
        """The first output, by which the artifact is judged too; auxiliary heads are not trained."""
        from torch.utils._pytree import tree_leaves

        with self.precision.computing():
            outputs: Tensor = tree_leaves(self.module(*inputs))[0]
        return self.precision.outputs(outputs)

    def _indices(self, first: int, end: int) -> list[int]:
        """The samples of steps first..end of one epoch, whose order depends on the seed and the epoch alone."""
        import torch

        epoch, offset = divmod(first, self.schedule.steps_per_epoch)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        order = torch.randperm(len(self.training), generator=generator)
        size = self.schedule.batch_size
        chosen: list[int] = order[offset * size : (offset + end - first) * size].tolist()
        return chosen

    def _judge(self) -> None:
        with self.average.in_place() if self.average else nullcontext():
            loss = self.held_out_loss()
            if loss < self.position.best_loss:
                self.best = weights_of(self.module)
        if not math.isfinite(loss):
            self._fail(f"the loss on the held-out samples is {loss}", self.position.step - 1)
        if loss < self.position.best_loss:
            self.position.best_loss, self.position.best_step = loss, self.position.step
            self.position.epochs_without_gain = 0
            return
        self.position.epochs_without_gain += 1
        patience = self.options.patience
        self.position.stopped_early = patience is not None and self.position.epochs_without_gain >= patience

    def _fail(self, what: str, step: int) -> None:
        self.keep_best()
        raise StepError(
            f"training: {what} at step {step + 1} of {self.schedule.steps}"
            f" (learning rate {self.schedule.learning_rate(step):.3g}); a lower learning rate may help"
        )
