"""Training that survives being killed: the one loop that passes share.

A run is cut into segments of at most SEGMENT_STEPS optimizer steps that never cross an epoch's end. Each segment
starts by seeding every generator from the run's seed and its own first step, and ends with a checkpoint; so a run
that was killed goes on from its last segment and ends with the same bits, and no generator's state is stored.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import StepError
from .average import Average
from .checkpoint import Checkpoints, Position, Weights, hash_of, weights_of
from .held_out import parts_of
from .losses import loss_for
from .masks import Masks
from .objective import HardLabels, Objective, moved
from .optimizer import check_precision, optimizer_for
from .result import TrainingResult
from .schedule import Schedule, TrainingOptions
from .seeds import mix, seed_everything

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..ir.progress import Advance, Progress
    from ..recipe.datasets import Batch, Data, Split

__all__ = ["TrainingOptions", "TrainingResult", "train"]


def train(
    module: nn.Module,
    data: Data,
    task: str,
    options: TrainingOptions,
    *,
    seed: int,
    scratch: Path,
    progress: Progress,
    name: str = "recover",
    objective: Objective | None = None,
    masked: Sequence[str] = (),
) -> TrainingResult:
    """`module`, in place and in eval mode, has the weights of the best held-out loss that training came by.

    Trains on the data's train split but for its held-out part, by the task's own loss or by the objective. `scratch`
    keeps checkpoints; the same call on the same weights goes on from them, or returns at once where the run had ended.
    `name` tells runs apart in messages. Samples must depend on nothing but their index and the global generators of
    random, numpy and torch. The zeros of the parameters named in `masked` stay zeros.
    Raises InputError where the task or the data can't be trained on, StepError where the loss stops being finite.
    """
    objective = HardLabels(loss_for(task)) if objective is None else objective
    run = _Run(module, data.split("train"), objective, options, seed, masked)
    facts = (task, options, seed, run.schedule.samples, objective.identity, tuple(masked), hash_of(module))
    key = hashlib.sha256(repr(facts).encode()).hexdigest()
    checkpoints = Checkpoints(scratch / f"{name}-{key[:16]}", progress.warn)
    run.start(checkpoints)
    with progress.task(name, run.schedule.steps) as advance:
        advance(run.position.step, "")
        while not run.is_finished:
            run.train_segment(advance)
            checkpoints.save(run.position, weights_of(module), run.best, run.learning_state())
    run.keep_best()
    return run.result


class _Run:
    """One training run between its checkpoints. Owns the module until `keep_best`."""

    def __init__(
        self,
        module: nn.Module,
        split: Split,
        objective: Objective,
        options: TrainingOptions,
        seed: int,
        masked: Sequence[str],
    ) -> None:
        from accelerate.accelerator import Accelerator

        self.training, self.held_out = parts_of(split, seed)
        self.objective, self.options, self.seed = objective, options, seed
        self.schedule = Schedule(len(self.training), options)
        self.accelerator: Any = Accelerator()
        self.home = next(module.parameters()).device
        self.module: nn.Module
        prepare: Any = self.accelerator.prepare
        self.module, self.optimizer = prepare(module, optimizer_for(module, options, objective.helpers))
        self.masks = Masks(module, masked)
        objective.start(self.accelerator.device)
        self.average = Average(self.module, options.average) if options.average else None
        check_precision(options, self.accelerator.device)
        self.position = Position(math.inf, math.inf)
        self.best: Weights = {}

    @property
    def is_finished(self) -> bool:
        position = self.position
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

    def start(self, checkpoints: Checkpoints) -> None:
        """The run stands where its last checkpoint left it, or before its first step."""
        if stored := checkpoints.load():
            self.position, weights, self.best, state = stored
            self.module.load_state_dict(weights)
            self.optimizer.load_state_dict(state["optimizer"])
            for helper, values in zip(self.objective.helpers, state["helpers"], strict=True):
                helper.load_state_dict(values)
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
        }

    def train_segment(self, advance: Advance) -> None:
        """The steps up to the segment's end are taken, and the weights judged where an epoch or the time ends."""
        first, started = self.position.step, time.monotonic()
        before = self.position.seconds
        end = self.schedule.segment_end(first)
        indices = self._indices(first, end)
        seed_everything(self.seed, first)
        self.module.train()
        size = self.schedule.batch_size
        for step, batch in enumerate(self.training.subset(indices).batches(size), first):
            loss = self._step(batch, indices[(step - first) * size :][:size], step)
            if not math.isfinite(loss):
                self._fail(f"the loss is {loss}", step)
            advance(1, f"loss {loss:.3f}, held out {self.position.best_loss:.3f}")
            if before + time.monotonic() - started >= 60 * (self.options.minutes or math.inf):
                end, self.position.out_of_time = step + 1, step + 1 < self.schedule.steps
                break
        self.position.step = end
        if self.schedule.ends_epoch(end) or self.position.out_of_time:
            self._judge()
        self.position.seconds = before + time.monotonic() - started

    def keep_best(self) -> None:
        """The module has the best weights, in eval mode, where it was before the run."""
        self.module.load_state_dict(self.best)
        self.module.to(self.home).eval()
        for parameter in self.module.parameters():
            parameter.grad = None

    def held_out_loss(self) -> float:
        """Mean loss over the held-out samples; their augmentation, if any, is the same every time."""
        import torch

        seed_everything(self.seed, -1)
        self.module.eval()
        total = 0.0
        with torch.no_grad():
            for batch in self.held_out.batches(256):
                total += float(self.objective.judge(self._outputs, moved(batch, self.accelerator.device))) * len(
                    batch.labels
                )
        return total / len(self.held_out)

    def _step(self, batch: Batch, samples: Sequence[int], step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.learning_rate(step)
        total = 0.0
        for piece in _pieces(len(samples), self.options.parts):
            part = moved(batch, self.accelerator.device, piece)
            loss = self.objective.loss(self._outputs, part, samples[piece]) * (len(part.labels) / len(samples))
            self.accelerator.backward(loss)
            total += float(loss.detach())
        self.optimizer.step()
        self.masks.apply()
        self.optimizer.zero_grad()
        if self.average:
            self.average.update(step)
        return total

    def _outputs(self, *inputs: Tensor) -> Tensor:
        """The first output, by which the artifact is judged too; auxiliary heads are not trained."""
        from torch.utils._pytree import tree_leaves

        with self._precision():
            outputs: Tensor = tree_leaves(self.module(*inputs))[0]
        return outputs.float() if self.options.precision != "float32" else outputs

    def _precision(self) -> AbstractContextManager[Any]:
        import torch

        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(self.accelerator.device.type, torch.bfloat16)

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


def _pieces(count: int, parts: int) -> list[slice]:
    """So many samples cut into parts that are equal but for one, each of two samples at least unless there is one."""
    parts = max(1, min(parts, count // 2))
    ends = [count * number // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]
