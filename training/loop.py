"""Training that survives being killed: the one loop that passes share.

A run is cut into segments of at most SEGMENT_STEPS optimizer steps that never cross an epoch's end. Each segment
starts by seeding every generator from the run's seed and its own first step, and ends with a checkpoint; so a run
that was killed goes on from its last segment and ends with the same bits, and no generator's state is stored.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.errors import InputError, Problem, StepError
from .checkpoint import Checkpoints, Position, Weights, hash_of, weights_of
from .losses import Loss, loss_for
from .schedule import Schedule, TrainingOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..ir.progress import Advance, Progress
    from ..recipe.datasets import Batch, Data, Split

__all__ = ["TrainingOptions", "TrainingResult", "train"]

HELD_OUT_PART, HELD_OUT_MOST = 10, 2000
"""One sample in ten of the train split, at most two thousand, judges the weights and is not trained on."""


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
) -> TrainingResult:
    """`module`, in place and in eval mode, has the weights of the best held-out loss that training came by.

    Trains on the data's train split but for its held-out part. `scratch` keeps checkpoints; the same call on the
    same weights goes on from them, or returns at once where the run had ended. `name` tells runs apart in messages.
    Samples must depend on nothing but their index and the global generators of random, numpy and torch.
    Raises InputError where the task or the data can't be trained on, StepError where the loss stops being finite.
    """
    run = _Run(module, data.split("train"), loss_for(task), options, seed)
    key = hashlib.sha256(repr((task, options, seed, run.schedule.samples, hash_of(module))).encode()).hexdigest()
    checkpoints = Checkpoints(scratch / f"{name}-{key[:16]}", progress.warn)
    run.start(checkpoints)
    with progress.task(name, run.schedule.steps) as advance:
        advance(run.position.step, "")
        while not run.is_finished:
            run.train_segment(advance)
            checkpoints.save(run.position, weights_of(module), run.best, run.optimizer.state_dict())
    run.keep_best()
    return run.result


class _Run:
    """One training run between its checkpoints. Owns the module until `keep_best`."""

    def __init__(self, module: nn.Module, split: Split, loss: Loss, options: TrainingOptions, seed: int) -> None:
        from accelerate.accelerator import Accelerator

        self.training, self.held_out = _parts(split, seed)
        self.loss, self.options, self.seed = loss, options, seed
        self.schedule = Schedule(len(self.training), options)
        self.accelerator: Any = Accelerator()
        self.home = next(module.parameters()).device
        self.module: nn.Module
        prepare: Any = self.accelerator.prepare
        self.module, self.optimizer = prepare(module, _optimizer(module, options))
        self.position = Position(math.inf, math.inf)
        self.best: Weights = {}

    @property
    def is_finished(self) -> bool:
        return self.position.stopped_early or self.position.step >= self.schedule.steps

    @property
    def result(self) -> TrainingResult:
        position, epoch = self.position, self.schedule.steps_per_epoch
        return TrainingResult(
            loss_before=position.loss_before,
            loss_after=position.best_loss,
            epochs_run=position.step / epoch,
            best_epoch=position.best_step / epoch,
            stopped_early=position.stopped_early,
        )

    def start(self, checkpoints: Checkpoints) -> None:
        """The run stands where its last checkpoint left it, or before its first step."""
        if stored := checkpoints.load():
            self.position, weights, self.best, optimizer = stored
            self.module.load_state_dict(weights)
            self.optimizer.load_state_dict(optimizer)
            return
        self.best = weights_of(self.module)
        loss = self.held_out_loss()
        self.position = Position(loss_before=loss, best_loss=loss if math.isfinite(loss) else math.inf)

    def train_segment(self, advance: Advance) -> None:
        """The steps up to the segment's end are taken, and the weights judged where an epoch ends."""
        first = self.position.step
        end = self.schedule.segment_end(first)
        indices = self._indices(first, end)
        _seed_everything(self.seed, first)
        self.module.train()
        for step, batch in enumerate(self.training.subset(indices).batches(self.schedule.batch_size), first):
            loss = self._step(batch, self.schedule.learning_rate(step))
            if not math.isfinite(loss):
                self._fail(f"the loss is {loss}", step)
            advance(1, f"loss {loss:.3f}, held out {self.position.best_loss:.3f}")
        self.position.step = end
        if self.schedule.ends_epoch(end):
            self._judge()

    def keep_best(self) -> None:
        """The module has the best weights, in eval mode, where it was before the run."""
        self.module.load_state_dict(self.best)
        self.module.to(self.home).eval()
        for parameter in self.module.parameters():
            parameter.grad = None

    def held_out_loss(self) -> float:
        """Mean loss over the held-out samples; their augmentation, if any, is the same every time."""
        import torch

        _seed_everything(self.seed, -1)
        self.module.eval()
        total = 0.0
        with torch.no_grad():
            for batch in self.held_out.batches(256):
                total += float(self._loss(batch)) * len(batch.labels)
        return total / len(self.held_out)

    def _step(self, batch: Batch, learning_rate: float) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._loss(batch)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """That of the first output, by which the artifact is judged too; auxiliary heads are not trained."""
        from torch.utils._pytree import tree_leaves

        device = self.accelerator.device
        outputs = self.module(*(tensor.to(device, non_blocking=True) for tensor in batch.inputs))
        return self.loss(tree_leaves(outputs)[0], batch.labels.to(device, non_blocking=True))

    def _indices(self, first: int, end: int) -> list[int]:
        """The samples of steps first..end of one epoch, whose order depends on the seed and the epoch alone."""
        import torch

        epoch, offset = divmod(first, self.schedule.steps_per_epoch)
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        order = torch.randperm(len(self.training), generator=generator)
        size = self.schedule.batch_size
        chosen: list[int] = order[offset * size : (offset + end - first) * size].tolist()
        return chosen

    def _judge(self) -> None:
        loss = self.held_out_loss()
        if not math.isfinite(loss):
            self._fail(f"the loss on the held-out samples is {loss}", self.position.step - 1)
        if loss < self.position.best_loss:
            self.best = weights_of(self.module)
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


def _parts(split: Split, seed: int) -> tuple[Split, Split]:
    """The samples to train on, and those held out."""
    import torch

    held_out = min(HELD_OUT_MOST, len(split) // HELD_OUT_PART)
    if held_out == 0:
        raise InputError(Problem("data: split 'train'", "", f"at least {HELD_OUT_PART} samples", f"{len(split)}"))
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(_mix(seed, -1))).tolist()
    return split.subset(sorted(order[held_out:])), split.subset(sorted(order[:held_out]))


def _optimizer(module: nn.Module, options: TrainingOptions) -> Any:
    """AdamW, or SGD with Nesterov's momentum; norms and biases (one axis or none) don't decay."""
    import torch

    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise InputError(Problem("model", "", "parameters that can be trained", "none"))
    groups = [
        {"params": [entry for entry in trained if entry.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [entry for entry in trained if entry.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate)


def _seed_everything(seed: int, step: int) -> None:
    """Every global generator stands where a segment that begins at `step` wants it."""
    from accelerate.utils.random import set_seed

    set_seed(_mix(seed, step))


def _mix(seed: int, number: int) -> int:
    """A seed of 32 bits that both numbers decide."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "big")
